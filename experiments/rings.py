"""Two rings apart, or one ring with a chord? What the Weisfeiler-Lehman test can and degrees cannot tell (H5)."""

import dataclasses

from zoo_experiments.verbs.experiment import Experiment, Optimisation

GIN = Experiment(
    title="two rings apart, or one long ring with a chord? GIN",
    data="rings",
    model="gin",
    options=("width=32", "layers=4", "norm=batch", "pool=sum"),
    optimisation=Optimisation(learning_rate=1e-2, weight_decay=1e-4, ema=0.99),
    epochs=20,
    batch_size=128,
    evaluations=5,
    baseline="bag_of_degrees",
)

EXPERIMENTS = {
    "rings": GIN,
    "rings_gcn": dataclasses.replace(
        GIN,
        title="two rings apart, or one long ring with a chord? GCN",
        model="gcn",
    ),
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "rings", *sys.argv[1:]]))
