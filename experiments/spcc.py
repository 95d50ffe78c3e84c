"""Supernovae of the photometric classification challenge: type Ia or not, and what a bright training set does (G5)."""

import dataclasses

from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.sequences import Sequences

HALF = Experiment(
    title="supernovae of the challenge, Ia or not, half of them for training",
    data="spcc",
    model="gru",
    options=("width=32", "layers=2", "bidirectional=True", "readout=mean", "dropout=0.3"),
    sequences=Sequences(softening=3.0, add=("host_photoz",), random_end=True),
    optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-2, clip=1.0, ema=0.99),
    epochs=80,
    batch_size=64,
    evaluations=8,
    score="roc_auc",
    baseline="light_curve_features",
)

EXPERIMENTS = {
    "spcc": HALF,
    "spcc_bright": dataclasses.replace(
        HALF, title="supernovae of the challenge, Ia or not, trained on the bright half", data="spcc/bright"
    ),
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "spcc", *sys.argv[1:]]))
