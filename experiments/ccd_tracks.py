"""Rare, short tracks of decays in the images of a CCD: focal loss against plain cross-entropy (E9).

    on test                                  area under precision–recall   Dice
    zoo train ccd_tracks --seed 0 (1)        0.751, 0.628                  0.700, 0.585   focal loss; 5 min
    zoo train ccd_tracks_plain --seed 0 (1)  0.754, 0.632                  0.714, 0.414   cross-entropy; 5 min
    zoo baseline ccd_tracks --split test     0.051                         0.092   boosted trees on filtered pixels

One pixel in 400 belongs to a track. The focal loss ranks the pixels no better than plain cross-entropy does: seeds
differ by far more. Interval of one area ±0.03. With larger batches and a smaller learning rate (32, 3e-3) seed 1
found no track at all within the time; three runs of that recipe had been looked at on test too. Measured with one CPU
core to each training, JAX 0.10.2, 2026-11-22.
"""

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
    optimisation=Optimisation(learning_rate=1e-2, weight_decay=1e-3, clip=1.0, ema=0.99, loss="focal"),
    epochs=14,
    batch_size=16,
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
