"""Two sides of a club, from one known member of each (H2)."""

import dataclasses

from zoo_experiments.verbs.experiment import Experiment, Optimisation

GCN = Experiment(
    title="which side did each member take? Two are known, GCN",
    data="karate",
    model="gcn",
    options=("width=16", "layers=2", "dropout=0.5"),
    optimisation=Optimisation(learning_rate=1e-2, weight_decay=5e-2),
    epochs=200,
    batch_size=1,
    evaluations=5,
    baseline="label_propagation",
)

EXPERIMENTS = {
    "karate": GCN,
    "karate_gat": dataclasses.replace(
        GCN,
        title="which side did each member take? Two are known, GAT",
        model="gat",
        options=("width=16", "heads=4", "layers=2", "dropout=0.5"),
    ),
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "karate", *sys.argv[1:]]))
