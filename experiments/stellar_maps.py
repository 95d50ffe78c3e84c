"""Maps of stellar mass, age and metallicity from images in five bands, with their uncertainty (F1).

    on test                                     log density   log age   metallicity
    zoo train stellar_maps                      R² 0.989      0.942     0.919          5 minutes on one core
        error over that of the best estimate
        from the fluxes of the pixel alone      0.681         0.414     0.360
        mean squared error over variance        1.084         0.973     1.021
        within one standard deviation           0.697         0.700     0.687
    zoo baseline stellar_maps --split test      R² 0.994      0.874     0.777        ridge regression on filtered pixels

Three choices, on validation: without batch normalisation, whose noise the network takes for that of the light
(squared error over variance 0.37 for the density with it, 0.96 without); colours as inputs; and β = 1 in the
likelihood (Seitzer+22). With the plain likelihood the age and the metallicity stayed on their degeneracy: R² of
metallicity 0.37. One seed; a run of the first recipe had been looked at on test too. Measured with one CPU core to
the training, JAX 0.10.2, 2026-11-22.
"""

from zoo.augment import Augmentation
from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.images import Images

EXPERIMENTS = {
    "stellar_maps": Experiment(
        title="stellar mass, age and metallicity from five bands, pixel by pixel",
        data="stellar_maps",
        model="unet",
        options=("widths=(16, 32, 64)", "norm=none"),
        spread=True,
        images=Images(size=0, full_scale=20.0, stretch="asinh", colours=0.1),
        augmentation=Augmentation(d4=True),
        optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-3, clip=1.0, ema=0.99, beta=1.0),
        epochs=12,
        batch_size=16,
        evaluations=6,
        properties=("seeing",),
    )
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "stellar_maps", *sys.argv[1:]]))
