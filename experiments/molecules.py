"""Molecules and proteins as graphs: MUTAG, PTC and PROTEINS, ten folds each (H4)."""

import dataclasses

from zoo_experiments.verbs.experiment import Experiment, Optimisation

MUTAG = Experiment(
    title="does a molecule change genes? MUTAG, fold by the seed, GIN",
    data="tudataset/mutag_fold{seed}",
    model="gin",
    options=("width=32", "layers=4", "norm=batch", "dropout=0.5", "pool=sum", "jump=True"),
    optimisation=Optimisation(learning_rate=1e-2, weight_decay=1e-2, ema=0.9),
    epochs=200,
    batch_size=32,
    evaluations=5,
    baseline="bag_of_tags",
)

EXPERIMENTS = {
    "mutag": MUTAG,
    "ptc": dataclasses.replace(
        MUTAG,
        title="does a molecule cause cancer? PTC, fold by the seed, GIN",
        data="tudataset/ptc_fold{seed}",
        options=("width=16", "layers=3", "norm=batch", "dropout=0.5", "pool=sum", "jump=True"),
        epochs=100,
    ),
    "proteins": dataclasses.replace(
        MUTAG,
        title="is a protein an enzyme? PROTEINS, fold by the seed, GIN",
        data="tudataset/proteins_fold{seed}",
        epochs=20,
    ),
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "mutag", *sys.argv[1:]]))
