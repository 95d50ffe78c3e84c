"""Photometric redshifts from images in u, g, r, i and z (B4); the baselines get the magnitudes.

    zoo train photoz --seed 0 (1, 2)    test σ_NMAD 0.030, 0.029, 0.030, outliers 0.3, 0.2, 0.3 %; 2 to 3 minutes each
    zoo baseline photoz --split test    0.043 and 0.7 %, random forest; 0.053 and 1.3 %, ridge regression

Measured on 2 CPU cores with other work beside, JAX 0.10.2, 2026-11-21; 1,500 test images. σ_NMAD is 1.4826 times the
median of |Δz − median Δz| / (1 + z), outliers are beyond |Δz| / (1 + z) = 0.15.
"""

from zoo.augment import Augmentation
from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.images import Images

EXPERIMENTS = {
    "photoz": Experiment(
        title="photometric redshift from images in five bands",
        data="photoz",
        model="convnet",
        options=("widths=(32, 64, 128)", "depths=(1, 1, 1)", "head_pool=both", "dropout=0.0"),
        images=Images(size=0, full_scale=20.0, stretch="asinh"),
        augmentation=Augmentation(d4=True),
        optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-2, clip=1.0, ema=0.99, huber=1.0),
        epochs=16,
        batch_size=32,
        evaluations=8,
        views="d4",
        score="sigma_nmad",
        baseline="magnitudes",
        layer="stage2",
    )
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "photoz", *sys.argv[1:]]))
