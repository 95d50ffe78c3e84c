"""Series of the UCR archive: 1-D convolutions beside the nearest neighbour by dynamic time warping."""

import dataclasses

from zoo_experiments.verbs.experiment import Experiment, Optimisation

CONV = Experiment(
    title="GunPoint of the UCR archive, 1-D convolutions",
    data="ucr/gunpoint",
    model="conv1d",
    options=("widths=(16, 32, 64)", "kernel=7", "head_pool=both", "dropout=0.3"),
    optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-2, ema=0.99),
    epochs=300,
    batch_size=20,
    evaluations=5,
    baseline="nearest_neighbour",
)

EXPERIMENTS = {
    "ucr_gunpoint": CONV,
    "ucr_italy_power": dataclasses.replace(
        CONV, title="ItalyPowerDemand of the UCR archive, 1-D convolutions", data="ucr/italy_power"
    ),
    "ucr_arrowhead": dataclasses.replace(
        CONV, title="ArrowHead of the UCR archive, 1-D convolutions", data="ucr/arrowhead"
    ),
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "ucr_gunpoint", *sys.argv[1:]]))
