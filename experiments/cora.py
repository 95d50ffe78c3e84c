"""Subjects of papers from their words and citations, and hidden citations (H2, H3)."""

import dataclasses

from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.graphs import Graphs

GCN = Experiment(
    title="subject of a paper, Cora, GCN",
    data="citations/cora",
    model="gcn",
    options=("width=16", "head=layer", "input_dropout=0.5", "dropout=0.5"),
    optimisation=Optimisation(optimiser="adam", learning_rate=1e-2, weight_decay=5e-4),
    epochs=200,
    batch_size=1,
    evaluations=20,
    select="best",
    baseline="own_features",
)
GAT = dataclasses.replace(
    GCN,
    title="subject of a paper, Cora, GAT",
    model="gat",
    options=(
        "width=64",
        "heads=8",
        "head=layer",
        "input_dropout=0.6",
        "dropout=0.6",
        "attention_dropout=0.6",
    ),
    optimisation=Optimisation(optimiser="adam", learning_rate=5e-3, weight_decay=5e-4),
)

EXPERIMENTS = {
    "cora_gcn": GCN,
    "cora_gat": GAT,
    "cora_links": dataclasses.replace(
        GCN,
        title="hidden citations of Cora, GCN",
        data="citations/cora_links",
        options=("layers=1", "head=layer"),
        graphs=Graphs(embedding=64),
        optimisation=Optimisation(learning_rate=1e-2, weight_decay=1e-2),
        score="roc_auc",
        baseline="common_neighbours",
    ),
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "cora_gcn", *sys.argv[1:]]))
