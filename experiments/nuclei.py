"""Nuclei under a fluorescence microscope: which pixels are nucleus (E6)."""

from zoo.augment import Augmentation
from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.images import Images

EXPERIMENTS = {
    "nuclei": Experiment(
        title="nuclei under a fluorescence microscope",
        data="nuclei",
        model="unet",
        options=("widths=(16, 32, 64)", "fold=2"),
        images=Images(size=0, scale="max"),
        augmentation=Augmentation(d4=True, crop=(128, 128), gain=(0.7, 1.4)),
        optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-3, clip=1.0, ema=0.99, loss="cross_entropy+dice"),
        epochs=30,
        batch_size=8,
        evaluations=6,
        score="dice_by_image",
    )
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "nuclei", *sys.argv[1:]]))
