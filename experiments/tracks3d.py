"""Tracks and showers in a three-dimensional detector, voxel by voxel (E6).

    test Dice                             mean of both            track   shower
    zoo train tracks3d                    0.772 (0.764 – 0.779)   0.794   0.750    4 minutes
    zoo baseline tracks3d --split test    0.751 (0.739 – 0.762)   0.771   0.732   logistic regression on filtered voxels

One seed. Measured with one CPU core to the training, JAX 0.10.2, 2026-11-22.
"""

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
