"""Simulated galaxies: elliptical, spiral or disc seen from the edge (B3).

    zoo train galaxies --seed 0 (1, 2)    test accuracy 1.000 each; 1 to 2 minutes each
    zoo baseline galaxies --split test    test accuracy 0.989, logistic regression on features made by hand

Measured on 2 CPU cores with other work beside, JAX 0.10.2, 2026-11-21; 1,000 test images (so 0.996 or more). The
classes are pure by construction: real galaxies are not.
"""

from zoo.augment import Augmentation
from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.images import Images

EXPERIMENTS = {
    "galaxies": Experiment(
        title="simulated galaxies: elliptical, spiral, edge-on disc",
        data="galaxies",
        model="convnet",
        options=("widths=(32, 64, 128)", "depths=(1, 1, 1)", "fold=2", "head_pool=both", "dropout=0.1"),
        images=Images(size=0, full_scale=20.0, stretch="asinh"),
        augmentation=Augmentation(d4=True),
        optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-2, clip=1.0, ema=0.99, label_smoothing=0.05),
        epochs=4,
        batch_size=32,
        evaluations=4,
        views="d4",
        layer="stage3",
    )
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "galaxies", *sys.argv[1:]]))
