"""Morphology of every pixel of a field: background, spheroid, disk, irregular or point source (E8)."""

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
