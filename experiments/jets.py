"""One prong or two? Jets as sets of particles: neighbours against sums, and jets of events with two top quarks (H8).

    on test, 2,000 jets                          accuracy   AUC
    zoo train jets_particlenet                   0.881      0.946   ParticleNet, the light one; 2 minutes
    zoo train jets_deep_sets                     0.832      0.912   deep sets; 2 to 4 minutes
    zoo baseline jets_particlenet --split test   0.803      0.888   features of the set, boosted trees
    zoo train ttbar_jets                         0.731                DGCNN on all jets of the event
    zoo baseline ttbar_jets --split test         0.714      a jet by itself, boosted trees

Seed 0, one CPU core to each training, JAX 0.10.2, 2026-11-22.
"""

import dataclasses

from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.graphs import Points

PARTICLENET = Experiment(
    title="one prong or two? ParticleNet, the light one",
    data="jets",
    model="particlenet_lite",
    optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-2, clip=1.0, ema=0.99),
    epochs=4,
    batch_size=64,
    evaluations=4,
    score="roc_auc",
    baseline="set_features",
)
DEEP_SETS = dataclasses.replace(
    PARTICLENET,
    title="one prong or two? Deep sets",
    model="deep_sets",
    points=Points(
        centre=(0.0, 0.0, 1.4, 1.9, -4.9, -4.9, 0.3),
        scale=(0.3, 0.3, 1.4, 1.4, 1.4, 1.4, 0.25),
    ),
    optimisation=dataclasses.replace(PARTICLENET.optimisation, learning_rate=1e-3),
    epochs=20,
)

EXPERIMENTS = {
    "jets_particlenet": PARTICLENET,
    "jets_deep_sets": DEEP_SETS,
    "ttbar_jets": dataclasses.replace(
        DEEP_SETS,
        title="from the b quark, from the W boson, or neither? Jets of an event, DGCNN",
        data="ttbar",
        model="dgcnn",
        options=("widths=(32, 32)", "k=4", "embedding=64", "dense=(32,)", "dropout=0.1"),
        points=Points(centre=(0.0, 0.0, 4.0, 2.0, 0.3), scale=(1.4, 1.8, 0.6, 0.5, 0.5)),
        optimisation=PARTICLENET.optimisation,
        epochs=15,
        score="",
        baseline="own_features",
    ),
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "jets_particlenet", *sys.argv[1:]]))
