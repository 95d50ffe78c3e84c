"""Angles: is the pattern in the noisy image, or its mirror image (A1–A3)?"""

import dataclasses

from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.images import Images

FILTER = Experiment(
    title="an angle or its mirror image, one trainable filter",
    data="angles",
    model="filter_net",
    images=Images(size=0),
    optimisation=Optimisation(learning_rate=1e-2, weight_decay=1.0),
    epochs=20,
    batch_size=32,
    evaluations=5,
    layer="filter",
)

CONVNET = dataclasses.replace(
    FILTER,
    title="an angle or its mirror image, ConvNet",
    model="convnet",
    options=("widths=(8, 16, 32)", "depths=(1, 1, 1)", "head_pool=max"),
    optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-2),
    layer="stage3",
)

MLP = dataclasses.replace(
    FILTER,
    title="an angle or its mirror image, pixels without order",
    model="mlp",
    options=("widths=(128, 64)", "dropout=0.2"),
    optimisation=Optimisation(learning_rate=1e-3, weight_decay=1e-2),
    layer="",
)

EXPERIMENTS = {"angles": FILTER, "angles_convnet": CONVNET, "angles_mlp": MLP}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "angles", *sys.argv[1:]]))
