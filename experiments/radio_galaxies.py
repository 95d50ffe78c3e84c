"""Radio galaxies of the FIRST survey in four classes: FRI, FRII, Compact, Bent (B6)."""

import dataclasses

from zoo.augment import Augmentation
from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.images import Images

FULL = Experiment(
    title="radio galaxies of the FIRST survey, four classes",
    data="radio_galaxies",
    model="convnet",
    options=("widths=(32, 64, 128)", "depths=(1, 2, 2)", "fold=2", "head_pool=both", "dropout=0.1"),
    images=Images(crop=(64, 128), size=64, stretch="sqrt"),
    augmentation=Augmentation(d4=True, rotate=3.1416, shift=2.0, zoom=(0.9, 1.1)),
    optimisation=Optimisation(
        learning_rate=2e-3,
        warmup=0.05,
        weight_decay=0.02,
        clip=1.0,
        ema=0.99,
        label_smoothing=0.1,
        class_weights="balanced",
    ),
    epochs=40,
    batch_size=32,
    evaluations=10,
    views="d4",
    layer="stage3",
)

DEMO = dataclasses.replace(FULL, title="radio galaxies of the FIRST survey, short recipe", epochs=16, evaluations=8)

EXPERIMENTS = {"radio_galaxies": FULL, "radio_galaxies_demo": DEMO}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "radio_galaxies", *sys.argv[1:]]))
