"""Supervision, group or collaboration? A class for every pair of coauthors (H6)."""

from zoo_experiments.verbs.experiment import Experiment, Optimisation

NETWORK = Experiment(
    title="supervision, group or collaboration? Graph network on authors, joint papers and citations",
    data="coauthors",
    model="graph_network",
    options=("width=48", "layers=3"),
    optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-2, clip=1.0, ema=0.99),
    epochs=40,
    batch_size=4,
    evaluations=6,
    baseline="neighbourhood",
)

EXPERIMENTS = {
    "coauthors": NETWORK,
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "coauthors", *sys.argv[1:]]))
