"""Photometric redshifts from images in u, g, r, i and z (B4); the baselines get the magnitudes."""

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
