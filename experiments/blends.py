"""Two galaxies on top of each other: whose are the pixels, and how bright is each (E7)?

    on test                                     R² of log flux   Dice
    zoo train blends_fluxes --seed 0 (1)        0.912, 0.912                    3 minutes
    zoo train blends_both --seed 0 (1)          0.909, 0.915     0.902, 0.903   7 minutes
    zoo train blends_masks --seed 0 (1)                          0.929, 0.926   6 minutes
    zoo baseline blends_fluxes --split test     0.886                           random forest on features of the image
    zoo baseline blends_masks --split test                       0.692          boosted trees on filtered pixels
    zoo deblend blends_fluxes/seed0 blends_both/seed0 blends_fluxes/seed1 blends_both/seed1 --split test

Do masks help the fluxes? Not that we can tell: with the masks the mean error of a flux is larger by 0.60 % of the flux
(95 % 0.22 – 0.98) with seed 0, and smaller by 0.72 % (0.34 – 1.11) with seed 1. Two seeds of one network differ by
as much.

Median error of the 2,000 fluxes: 10.9 to 11.4 % by the networks, 18.9 % by `sep` run hot and cold, of those 81 %
that it finds; it takes 38 % of the pairs for one galaxy, the network with masks 3 %. From 20 pixels apart on all are
alike. Away from what they were trained on the networks fail: of one galaxy alone they miss 28 % of the flux
(`--data blends/one`; sep 11 %), of three 40 to 43 % (`blends/three`; sep 63 %), and of real galaxies of another camera
56 to 59 % (`real_blends`; sep 10 %).

Measured with one CPU core to each training, JAX 0.10.2, 2026-11-22.
"""

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
