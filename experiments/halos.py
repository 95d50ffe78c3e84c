"""Mass of the stars of a halo from its mass and its neighbourhood, with its uncertainty (H7).

    rms error on test, lg solar masses, 40 boxes of some 400 haloes; half a minute each
    zoo train halos_link_1                                  0.204   edges up to 1 Mpc
    zoo train halos_link_2                                  0.183   2 Mpc
    zoo train halos                                         0.174   3 Mpc, where the law has its radius
    zoo train halos_link_5                                  0.180   5 Mpc
    zoo baseline halos --split test                         0.181   hand-made features of the neighbourhood, forest
    zoo baseline halos --inputs own_features --split test   0.255   mass alone, forest
    scatter of the law itself                               0.170

The predicted standard deviations are right: 67.5 % of the errors lie within one (68.3 are due), mean of their squares
1.05, with each linking length between 1.04 and 1.05. The baseline of the mass alone was measured with the same code in
a script. Seed 0, one CPU core to each training, JAX 0.10.2, 2026-11-22.
"""

import dataclasses

from zoo_experiments.verbs.experiment import Experiment, Optimisation
from zoo_experiments.verbs.graphs import Graphs

NETWORK = Experiment(
    title="mass of the stars from haloes within 3 Mpc, interaction network",
    data="halos",
    model="interaction_network",
    options=("width=32", "layers=2"),
    spread=True,
    graphs=Graphs(
        node_centre=(12.0,),
        node_scale=(0.5,),
        edge_centre=(2.0, 300.0, 0.0, 0.0, 0.0),
        edge_scale=(1.0, 300.0, 1.0, 1.0, 1.0),
    ),
    optimisation=Optimisation(learning_rate=3e-3, weight_decay=1e-2, clip=1.0, ema=0.99, beta=0.5),
    epochs=40,
    batch_size=4,
    evaluations=6,
    score="rmse",
    baseline="neighbourhood",
)


def linked(length: str, setting: str) -> Experiment:
    """The same with edges up to another length."""
    return dataclasses.replace(
        NETWORK,
        title=f"mass of the stars from haloes within {length} Mpc, interaction network",
        data=f"halos/{setting}",
    )


EXPERIMENTS = {
    "halos": NETWORK,
    "halos_link_1": linked("1", "link_1"),
    "halos_link_2": linked("2", "link_2"),
    "halos_link_5": linked("5", "link_5"),
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "halos", *sys.argv[1:]]))
