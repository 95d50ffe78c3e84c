"""Strong gravitational lenses among galaxies that look like them, in g, r and i (B7).

There are two settings of the simulator: `zoo evaluate lenses/seed0 --data lenses/other --split test` takes a network
across, `zoo train lenses --data lenses/other --name other` trains on the other."""

from zoo.augment import Augmentation
from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.images import Images

FULL = Experiment(
    title="strong gravitational lenses among galaxies like them",
    data="lenses",
    model="convnet",
    options=("widths=(32, 64, 128)", "depths=(1, 2, 2)", "fold=2", "head_pool=both", "dropout=0.1"),
    images=Images(size=0, full_scale=20.0, stretch="asinh"),
    augmentation=Augmentation(d4=True),
    optimisation=Optimisation(learning_rate=2e-3, weight_decay=2e-2, clip=1.0, ema=0.99, label_smoothing=0.05),
    epochs=10,
    batch_size=32,
    evaluations=5,
    views="d4",
    score="roc_auc",
    layer="stage3",
)

EXPERIMENTS = {"lenses": FULL}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "lenses", *sys.argv[1:]]))
