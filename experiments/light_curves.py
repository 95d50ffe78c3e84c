"""Types of supernovae from their light curves, and how soon they are known (G5, G7).

    on test                                             accuracy        negative log-likelihood
    zoo train light_curves --seed 0 (1)                 0.918, 0.918    0.236             LSTM; 3 minutes
    zoo train light_curves_no_redshift --seed 0 (1)     0.912, 0.917    0.240             LSTM; 3 minutes
    zoo train light_curves_gru                          0.930           0.200             3 minutes
    zoo train light_curves_conv1d                       0.918           0.230             1 minute
    zoo baseline light_curves --split test              0.916           0.239             boosted trees on features
                                                        0.902           0.275             random forest
    zoo over time light_curves light_curves_no_redshift light_curves_gru light_curves_conv1d --split test

The interval of one accuracy is ±1.2 points (2,000 light curves): at their end the networks and the trees cannot be told
apart. Redshift helps early: 14 days after the trigger the LSTM is right in 74 % with it and in 67 % without, after 45
days in 88 and 83 %. Calibration error 0.028 (LSTM), 0.018 (convolutions). Measured with one CPU core to each training,
JAX 0.10.2, 2026-11-22.
"""

import dataclasses

from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.sequences import Sequences

LSTM = Experiment(
    title="types of simulated supernovae, LSTM, host redshift known",
    data="light_curves",
    model="lstm",
    options=("width=64", "layers=2", "bidirectional=True", "readout=attention", "dropout=0.25"),
    sequences=Sequences(softening=3.0, add=("host_photoz",), random_end=True),
    optimisation=Optimisation(learning_rate=5e-3, weight_decay=2e-2, clip=1.0, ema=0.99),
    epochs=24,
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
        options=("widths=(32, 64, 128)", "depths=(1, 1, 1)", "head_pool=both", "dropout=0.25"),
    ),
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "light_curves", *sys.argv[1:]]))
