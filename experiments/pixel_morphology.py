"""Morphology of every pixel of a field: background, spheroid, disk, irregular or point source (E8).

    zoo train pixel_morphology                     test Dice 0.867 (95 % 0.860 – 0.873), 3 minutes
    zoo baseline pixel_morphology --split test     0.632, boosted trees on filtered pixels

The mean of spheroid 0.888, disk 0.843, irregular 0.834 and point source 0.902; completeness over magnitude is drawn in
the report. One seed. Measured with one CPU core to the training, JAX 0.10.2, 2026-11-22.
"""

from zoo.augment import Augmentation
from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.images import Images

EXPERIMENTS = {
    "pixel_morphology": Experiment(
        title="morphology of every pixel, five classes",
        data="pixel_morphology",
        model="unet",
        options=("widths=(24, 48, 96)", "fold=2"),
        images=Images(size=0, full_scale=20.0, stretch="asinh"),
        augmentation=Augmentation(d4=True),
        optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-3, clip=1.0, ema=0.99),
        epochs=8,
        batch_size=32,
        evaluations=6,
        properties=("seeing",),
    )
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "pixel_morphology", *sys.argv[1:]]))
