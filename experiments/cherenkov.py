"""Electron or muon? Rings of light in a water tank as unrolled images and as hits in space (H7)."""

from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.graphs import Points
from zoo_experiments.verbs.images import Images

HOW = Optimisation(learning_rate=3e-3, weight_decay=1e-2, clip=1.0, ema=0.99)

EXPERIMENTS = {
    "cherenkov_images": Experiment(
        title="electron or muon? Unrolled images, convolutions",
        data="cherenkov/images",
        model="convnet",
        options=("widths=(12, 24, 32)", "depths=(1, 1, 1)"),
        images=Images(size=0),
        optimisation=HOW,
        epochs=10,
        batch_size=32,
        evaluations=5,
    ),
    "cherenkov_hits": Experiment(
        title="electron or muon? Hits in space, DGCNN",
        data="cherenkov/hits",
        model="dgcnn",
        options=("widths=(16, 16, 32)", "k=8", "embedding=64", "dense=(32,)", "dropout=0.2", "coordinates=3"),
        points=Points(scale=(3.0, 3.0, 3.0, 10.0, 4.0)),
        optimisation=HOW,
        epochs=6,
        batch_size=16,
        evaluations=5,
        baseline="set_features",
    ),
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "cherenkov_hits", *sys.argv[1:]]))
