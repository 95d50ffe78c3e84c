"""Rare, short tracks of decays in the images of a CCD: focal loss against plain cross-entropy (E9)."""

import dataclasses

from zoo.augment import Augmentation
from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.images import Images

FOCAL = Experiment(
    title="rare tracks in a CCD, focal loss",
    data="ccd_tracks",
    model="unet",
    options=("widths=(8, 16, 32)",),
    images=Images(size=0, full_scale=50.0, stretch="asinh"),
    augmentation=Augmentation(d4=True),
    optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-3, clip=1.0, ema=0.99, loss="focal"),
    epochs=16,
    batch_size=32,
    evaluations=6,
    score="average_precision",
)

EXPERIMENTS = {
    "ccd_tracks": FOCAL,
    "ccd_tracks_plain": dataclasses.replace(
        FOCAL,
        title="rare tracks in a CCD, plain cross-entropy",
        optimisation=dataclasses.replace(FOCAL.optimisation, loss="cross_entropy"),
    ),
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "ccd_tracks", *sys.argv[1:]]))
