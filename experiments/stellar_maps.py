"""Maps of stellar mass, age and metallicity from images in five bands, with their uncertainty (F1)."""

from zoo.augment import Augmentation
from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.images import Images

EXPERIMENTS = {
    "stellar_maps": Experiment(
        title="stellar mass, age and metallicity from five bands, pixel by pixel",
        data="stellar_maps",
        model="unet",
        options=("widths=(24, 48, 96)", "fold=2", "norm=none"),
        spread=True,
        images=Images(size=0, full_scale=20.0, stretch="asinh"),
        augmentation=Augmentation(d4=True),
        optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-3, clip=1.0, ema=0.99),
        epochs=8,
        batch_size=16,
        evaluations=6,
        properties=("seeing",),
    )
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "stellar_maps", *sys.argv[1:]]))
