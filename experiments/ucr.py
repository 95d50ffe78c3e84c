"""Series of the UCR archive: 1-D convolutions beside the nearest neighbour by dynamic time warping.

    test accuracy                    network        1-NN, Euclid   1-NN, DTW
    zoo train ucr_gunpoint           1.000, 1.000   0.913          0.887
    zoo train ucr_italy_power        0.961          0.952          0.935
    zoo train ucr_arrowhead          0.674, 0.794   0.794          0.686

Half a minute each, seeds 0 and 1 where there are two. All fit on four fifths of the archive's training series, the
others being validation; ArrowHead has 30 left, and two seeds differ by 12 points. `zoo baseline NAME --split test`
gives the neighbours. Measured with one CPU core to each training, JAX 0.10.2, 2026-11-22.
"""

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
