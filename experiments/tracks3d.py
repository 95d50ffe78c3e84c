"""Tracks and showers in a three-dimensional detector, voxel by voxel (E6)."""

from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.images import Images

EXPERIMENTS = {
    "tracks3d": Experiment(
        title="tracks and showers in a three-dimensional detector",
        data="tracks3d",
        model="unet3d",
        options=("widths=(16, 32)", "fold=2"),
        images=Images(size=0, full_scale=20.0, stretch="asinh"),
        optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-3, clip=1.0, ema=0.99, loss="cross_entropy+dice"),
        epochs=8,
        batch_size=8,
        evaluations=4,
    )
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "tracks3d", *sys.argv[1:]]))
