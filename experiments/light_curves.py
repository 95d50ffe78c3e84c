"""Types of supernovae from their light curves, and how soon they are known (G5, G7)."""

import dataclasses

from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.sequences import Sequences

LSTM = Experiment(
    title="types of simulated supernovae, LSTM, host redshift known",
    data="light_curves",
    model="lstm",
    options=("width=48", "layers=2", "bidirectional=True", "readout=mean", "dropout=0.05"),
    sequences=Sequences(softening=3.0, add=("host_photoz",), random_end=True),
    optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-3, clip=1.0, ema=0.99),
    epochs=30,
    batch_size=64,
    evaluations=6,
    baseline="light_curve_features",
    properties=("redshift",),
)
WITHOUT = dataclasses.replace(LSTM.sequences, add=())

EXPERIMENTS = {
    "light_curves": LSTM,
    "light_curves_no_redshift": dataclasses.replace(
        LSTM, title="types of simulated supernovae, LSTM, redshift not known", sequences=WITHOUT
    ),
    "light_curves_gru": dataclasses.replace(LSTM, title="types of simulated supernovae, GRU", model="gru"),
    "light_curves_conv1d": dataclasses.replace(
        LSTM,
        title="types of simulated supernovae, 1-D convolutions",
        model="conv1d",
        options=("widths=(32, 64, 128)", "depths=(1, 1, 1)", "head_pool=both", "dropout=0.05"),
    ),
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "light_curves", *sys.argv[1:]]))
