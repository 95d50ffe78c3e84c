"""Painting gas on dark matter, with the right power on every scale (F1)."""

from zoo.augment import Augmentation
from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.images import Images

EXPERIMENTS = {
    "baryons": Experiment(
        title="gas painted on dark matter",
        data="baryons",
        model="unet",
        options=("widths=(24, 48, 96)", "fold=2", "padding=circular", "norm=none"),
        images=Images(size=0),
        augmentation=Augmentation(d4=True),
        optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-3, clip=1.0, ema=0.99),
        epochs=10,
        batch_size=16,
        evaluations=6,
        score="correlation_min",
        properties=("heated",),
    )
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "baryons", *sys.argv[1:]]))
