"""The next character of Paradise Lost: bits per character, and samples (G6)."""

import dataclasses

from zoo_experiments.verbs.experiment import Experiment, Optimisation

LSTM = Experiment(
    title="next character of Paradise Lost, LSTM",
    data="text",
    model="lstm",
    options=("width=192", "embedding=32", "dropout=0.2"),
    optimisation=Optimisation(learning_rate=5e-3, weight_decay=1e-3, clip=1.0, ema=0.99),
    epochs=25,
    batch_size=32,
    evaluations=5,
    score="bits",
    baseline="characters_before",
)

EXPERIMENTS = {
    "text": LSTM,
    "text_window": dataclasses.replace(
        LSTM,
        title="next character of Paradise Lost, dense layers on 8 characters",
        model="window",
        options=("window=8", "widths=(256,)", "embedding=32", "dropout=0.2"),
        epochs=15,
    ),
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "text", *sys.argv[1:]]))
