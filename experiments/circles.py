"""Blurry circles: the radius of a disc in pixels, wherever it is (B4).

    zoo train circles --seed 0 (1, 2)            test R² 0.994, 0.995, 0.996, error 0.14 to 0.15 px; 1 to 2 minutes
    zoo train circles_centred --seed 0 (1, 2)    test R² 0.997 each, error 0.12 px; 1 to 2 minutes
    zoo baseline circles --split test            test R² 0.996, random forest on features made by hand
    zoo baseline circles_centred --split test    test R² 0.998, ridge regression on features made by hand

Measured on 2 CPU cores with other work beside, JAX 0.10.2, 2026-11-21; 1,000 test images. The second moments of a disc
are its radius, so that the features made by hand are hard to beat here.
"""

import dataclasses

from zoo.augment import Augmentation
from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.images import Images

FULL = Experiment(
    title="radius of a blurry circle, anywhere in the image",
    data="circles",
    model="convnet",
    options=("widths=(16, 32, 64)", "depths=(1, 1, 1)", "head_pool=both"),
    images=Images(size=0),
    augmentation=Augmentation(d4=True),
    optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-3, clip=1.0, ema=0.99, huber=1.0),
    epochs=12,
    batch_size=32,
    evaluations=6,
    layer="stage2",
)

CENTRED = dataclasses.replace(
    FULL, title="radius of a blurry circle in the middle of the image", data="circles/centred"
)

EXPERIMENTS = {"circles": FULL, "circles_centred": CENTRED}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "circles", *sys.argv[1:]]))
