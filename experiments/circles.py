"""Blurry circles: the radius of a disc in pixels, wherever it is (B4)."""

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
