"""Two galaxies on top of each other: whose are the pixels, and how bright is each (E7)?"""

import dataclasses

from zoo.augment import Augmentation
from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.images import Images

MASKS = Experiment(
    title="blended galaxies: the pixels of each",
    data="blends",
    model="unet",
    options=("widths=(24, 48, 96)", "fold=2"),
    learn="masks",
    images=Images(size=0, full_scale=20.0, stretch="asinh"),
    augmentation=Augmentation(d4=True),
    optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-3, clip=1.0, ema=0.99),
    epochs=8,
    batch_size=32,
    evaluations=4,
    properties=("separation", "gap"),
)

FLUXES = Experiment(
    title="blended galaxies: the flux of each",
    data="blends",
    model="convnet",
    options=("widths=(24, 48, 96)", "depths=(2, 2, 2)", "fold=2", "head_pool=both"),
    learn="target",
    images=MASKS.images,
    augmentation=MASKS.augmentation,
    optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-3, clip=1.0, ema=0.99, huber=1.0),
    epochs=10,
    batch_size=32,
    evaluations=4,
    layer="stage2",
    properties=("separation", "gap"),
)

BOTH = dataclasses.replace(
    MASKS,
    title="blended galaxies: the pixels and the flux of each",
    learn="both",
    optimisation=FLUXES.optimisation,
    epochs=FLUXES.epochs,
)

EXPERIMENTS = {"blends_masks": MASKS, "blends_fluxes": FLUXES, "blends_both": BOTH}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "blends_masks", *sys.argv[1:]]))
