"""Supervision, group or collaboration? A class for every pair of coauthors (H6).

    accuracy on test, 60 networks
    zoo train coauthors                                         0.926, graph network, seed 0; 3 minutes
    zoo baseline coauthors --split test                         0.938, hand-made: types of edges, neighbours in common
    zoo baseline coauthors --inputs own_features --split test   0.865, an edge and its ends; the edge alone 0.792

Who is commonest is right in 0.69. The network sees three edges far and has no way to count neighbours in common, which
the trees of the baseline are given. Baselines were measured with the same code in a script. One CPU core, JAX 0.10.2,
2026-11-22.
"""

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
