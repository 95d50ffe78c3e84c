"""The next character of Paradise Lost: bits per character, and samples (G6).

    on test                          bits per character
    zoo train text                   2.314 (95 % 2.292 – 2.337)    8 minutes on one core
    zoo train text_window            2.468, dense layers on 8 characters, 2 minutes
    zoo baseline text --split test   2.374, counts of what followed 4 characters; 2.911 of 2, 4.572 of none

    zoo sample text --prompt "Of Mans " --characters 300
    Of Mans of over sat that less the Worm
    Of spate the seduc’d this pale, and warr what shalt things deep

A text of 450,000 characters is short: the network gains little over counting, and the words of its lines are not all
words. One seed. Measured with one CPU core to each training, JAX 0.10.2, 2026-11-22.
"""

import dataclasses

from zoo_experiments.verbs.experiment import Experiment, Optimisation

LSTM = Experiment(
    title="next character of Paradise Lost, LSTM",
    data="text",
    model="lstm",
    options=("width=192", "embedding=32", "dropout=0.05"),
    optimisation=Optimisation(learning_rate=8e-3, weight_decay=1e-3, clip=1.0, ema=0.99),
    epochs=18,
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
