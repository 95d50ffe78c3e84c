"""Haloes of dark matter in a periodic box: how many stars has each, given its mass and its neighbourhood?

Haloes come in groups, groups in larger ones, some alone. The mass of the stars is a known function of the halo's mass
and of the mass within 3 Mpc around it, with scatter of known size, so that the best possible prediction is known. After
Wu & Jespersen (2023) and Wu, Jespersen & Wechsler (2024), who asked this of a hydrodynamical simulation.
"""

from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import graphs, simulation
from zoo_datasets.loading.neighbours import minimum_image, within_radius

# Side of the box and radius of the neighbourhood that matters, Mpc.
BOX, NEIGHBOURHOOD = 50.0, 3.0
# Longest edges, Mpc, in each setting; the haloes are the same in all.
LINKING = {"default": 3.0, "link_1": 1.0, "link_2": 2.0, "link_5": 5.0}
# lg of the mass in solar masses: least, exponential end of the mass function and its slope per decade.
LEAST, KNEE, SLOPE = 11.0, 13.8, -0.9
MOST = 15.0
# Stars and haloes (Moster, Naab & White 2013, table 1, z = 0): lg M₁, N, β, γ.
MOSTER = (11.59, 0.0351, 1.376, 0.608)
# dex of stars for one dex of environment.
INFLUENCE = 0.2
# Mass by which the environment is measured: about the mean in a sphere of that radius.
MEAN_MASS = 1e12
# Scatter, dex: of the lightest and of the heaviest haloes, and the lg masses where it stops to change.
SCATTER, SCATTER_MASS = (0.2, 0.08), (11.0, 13.0)
# Velocities, km/s: of large groups, and inside a group of 10¹⁴ solar masses.
BULK, DISPERSION = 250.0, 600.0

NODE_CHANNELS = {"log_mass": "lg solar masses"}
EDGE_CHANNELS = {
    "distance": "Mpc",
    "relative_speed": "km/s",
    "cos_separation_relative_velocity": "1",
    "cos_separation_velocity": "1",
    "cos_velocities": "1",
}
TARGETS = {"log_stellar_mass": "lg solar masses"}
TITLE = "Haloes in a periodic box: mass of the stars from mass and neighbourhood, by a known law with known scatter"
UNITS = (
    "nodes: float32, n × 1: lg of the halo's mass, solar masses, 11…14.5. senders, receivers: int32: all pairs of "
    "haloes no farther apart than the linking length, in both directions, by the shortest way through the box: 3 Mpc; "
    "link_1, link_2, link_5: 1, 2, 5 Mpc. edges: float32, e × 5: distance, Mpc; difference of velocities, km/s; "
    "cosines of the angles between the separation (from receiver to sender) and the velocity of the sender relative "
    "to the receiver, between the separation and the receiver's velocity, and between the two velocities; 0 where a "
    "vector vanishes. positions: float32, n × 3, Mpc, each in 0…box; velocities: float32, n × 3, km/s; box: side, "
    "Mpc, 50. node_target: float32, n × 1: lg of the mass of stars, solar masses; node_valid: 1 for every halo. "
    "scatter: float32, n: standard deviation of the target around the law, dex, the floor of every prediction; "
    "environment: float32, n: lg of 1 + mass within 3 Mpc / 10¹² solar masses: truth, never inputs."
)
LICENCE = simulation.LICENCE
CREDIT = ""
_SIZES = {"train": 80, "validation": 20, "test": 40}
SPLIT_SIZES = {
    "default": _SIZES,
    "tiny": {"train": 6, "validation": 3, "test": 3},
    "full": {"train": 800, "validation": 80, "test": 160},
    **{name: _SIZES for name in LINKING if name != "default"},
}
PROPERTIES = {"scatter": "dex", "environment": "dex"}
FEATURES = {
    "nodes": "(n, 1) float32: lg of the halo's mass; n about 400",
    "senders": "(e,) int32",
    "receivers": "(e,) int32",
    "edges": "(e, 5) float32: distance, relative speed, three cosines",
    "positions": "(n, 3) float32, Mpc, 0…box",
    "velocities": "(n, 3) float32, km/s",
    "box": "float32, Mpc: side of the periodic box",
    "node_target": "(n, 1) float32: lg of the mass of stars",
    "node_valid": "(n,) uint8: 1",
    "scatter": "(n,) float32, dex; truth, not an input",
    "environment": "(n,) float32, dex; truth, not an input",
}
SPLIT_POLICY = "Every box is drawn on its own, so that splits share no neighbourhood."
NOTES = (
    "The law: lg M* = f(M) + 0.2 lg(1 + Σ / 10¹²) + scatter · a standard normal number, all in solar masses; f is the "
    "relation of Moster, Naab & White (2013) at redshift 0; Σ is the mass of all other haloes within 3 Mpc; scatter "
    "falls linearly with lg M from 0.2 dex at 11 to 0.08 dex at 13 and beyond. Nothing else, velocities in "
    "particular, has a say. Root mean square error in test: 0.17 dex for the law itself, 0.23 for the best guess from "
    "mass alone (boosted trees), 0.18 from mass and the number of neighbours within 3 Mpc. Mass and neighbourhood are "
    "hardly correlated (−0.05…0.05), other than in nature. Edges of 3 Mpc know all that matters; shorter ones miss "
    "neighbours, longer ones must be told apart by their length: trees on mass and the mass within 1, 2, 3, 5 Mpc "
    "have 0.21, 0.19, 0.17, 0.19 dex. A third of the haloes have no neighbour, and no edge, within 3 Mpc. The "
    "simulation is a toy: groups are drawn, nothing falls or merges. No cosine is measured from the centre of the "
    "box, as in some published features, which then change when the box is moved."
)
CITATION = """\
@article{wu2023learning,
  title   = {Learning the galaxy-environment connection with graph neural networks},
  author  = {Wu, John F. and Jespersen, Christian Kragh},
  journal = {arXiv preprint arXiv:2306.12327},
  year    = {2023},
  url     = {https://arxiv.org/abs/2306.12327},
}
@article{wu2024galaxy,
  title   = {How the Galaxy-Halo Connection Depends on Large-Scale Environment},
  author  = {Wu, John F. and Jespersen, Christian Kragh and Wechsler, Risa H.},
  journal = {The Astrophysical Journal},
  volume  = {976},
  pages   = {37},
  year    = {2024},
  url     = {https://arxiv.org/abs/2402.07995},
}
@article{moster2013galactic,
  title   = {Galactic star formation and accretion histories from matching galaxies to dark matter haloes},
  author  = {Moster, Benjamin P. and Naab, Thorsten and White, Simon D. M.},
  journal = {Monthly Notices of the Royal Astronomical Society},
  volume  = {428},
  pages   = {3121--3138},
  year    = {2013},
  doi     = {10.1093/mnras/sts261},
}"""


def stars_of_mass(log_mass: np.ndarray) -> np.ndarray:
    """lg of the mean mass of stars: M* / M = 2 N / ((M / M₁)^−β + (M / M₁)^γ) (Moster, Naab & White 2013, eq. 2).

    Args:
      log_mass: lg of the haloes' masses M, solar masses.
    """
    knee, norm, beta, gamma = MOSTER
    ratio = 10 ** (np.asarray(log_mass, np.float64) - knee)
    return log_mass + np.log10(2 * norm / (ratio**-beta + ratio**gamma))


def scatter_of_mass(log_mass: np.ndarray) -> np.ndarray:
    """Standard deviation of the stars' lg mass, dex: falls linearly from light to heavy haloes."""
    return np.interp(log_mass, SCATTER_MASS, SCATTER)


def environment(positions: np.ndarray, log_mass: np.ndarray, *, box: float | None = BOX) -> np.ndarray:
    """lg(1 + ΣM / 10¹²), the sum over all other haloes within 3 Mpc.

    Args:
      positions: (n, 3), Mpc.
      log_mass: (n,), lg solar masses.
      box: side of the periodic box, Mpc; None if there is none.
    """
    senders, receivers = within_radius(positions, NEIGHBOURHOOD, box=box)
    around = np.bincount(receivers, 10 ** log_mass[senders], minlength=len(log_mass))
    return np.log10(1 + around / MEAN_MASS)


def mean_stars(log_mass: np.ndarray, around: np.ndarray) -> np.ndarray:
    """The law: lg M* = f(M) + 0.2 · environment."""
    return stars_of_mass(log_mass) + INFLUENCE * around


def edge_features(
    positions: np.ndarray,
    velocities: np.ndarray,
    senders: np.ndarray,
    receivers: np.ndarray,
    *,
    box: float | None = BOX,
) -> np.ndarray:
    """Features (e, 5) float32 of edges, see `EDGE_CHANNELS`.

    They are functions of separations (by the shortest way through the box) and velocities by their lengths and the
    angles between them, and so do not change where everything is moved, wrapped around the box, turned or mirrored
    together: there is no origin in them. Those of the velocities themselves, the last two, are in the frame of the box.

    Args:
      positions: (n, 3), Mpc.
      velocities: (n, 3), km/s.
      senders, receivers: (e,) of the edges.
      box: side of the periodic box, Mpc; None if there is none.
    """
    separation = minimum_image(positions[senders] - positions[receivers], box)
    relative = velocities[senders] - velocities[receivers]
    features = (
        np.linalg.norm(separation, axis=1),
        np.linalg.norm(relative, axis=1),
        _cosine(separation, relative),
        _cosine(separation, velocities[receivers]),
        _cosine(velocities[senders], velocities[receivers]),
    )
    return np.stack(features, axis=1).astype(np.float32)


def _cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of the angle between vectors (e, 3), 0 where one has no direction."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.divide((first * second).sum(1), lengths, out=np.zeros(len(first)), where=lengths > 0)


def draw_log_mass(random: np.random.Generator, count: int, most: float = MOST) -> np.ndarray:
    """lg masses from dn/dlg M ∝ M^−0.9 exp(−M / 10^13.8), between 10¹¹ and 10^most, by rejection."""
    found = np.empty(0)
    low, high = 10 ** (SLOPE * LEAST), 10 ** (SLOPE * most)
    while len(found) < count:
        # Power law by inversion, the exponential by rejection.
        mass = np.log10(low + random.random(2 * count + 8) * (high - low)) / SLOPE
        found = np.append(found, mass[random.random(len(mass)) < np.exp(-(10 ** (mass - KNEE)))])
    return found[:count]


def draw_box(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (n, 3), Mpc, velocities (n, 3), km/s, and lg masses (n,) of the haloes of a box."""
    parts = [_field(random, 150)]
    for _ in range(10):
        # A large group: a few small ones around one centre, which move together.
        centre, motion = random.uniform(0, BOX, 3), random.normal(0, BULK, 3)
        for _ in range(1 + random.poisson(2.0)):
            parts.append(_group(random, centre + random.normal(0, 3.0, 3), motion))
    positions, velocities, log_mass = (np.concatenate(values) for values in zip(*parts, strict=True))
    # In float32 a coordinate just below the side would be the side.
    wrapped = np.mod(positions, BOX).astype(np.float32)
    wrapped[wrapped >= np.float32(BOX)] = 0
    return wrapped, velocities.astype(np.float32), log_mass.astype(np.float32)


def _field(random: np.random.Generator, mean: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Haloes anywhere."""
    count = random.poisson(mean)
    return random.uniform(0, BOX, (count, 3)), random.normal(0, BULK, (count, 3)), draw_log_mass(random, count)


def _group(
    random: np.random.Generator, centre: np.ndarray, motion: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A heavy halo in the middle and lighter ones around it, the more and the faster the heavier it is."""
    heaviest = random.uniform(12.0, 14.0)
    count = random.poisson(2 * 10 ** (0.5 * (heaviest - 12.0)))
    radius = 0.5 * 10 ** ((heaviest - 12.0) / 3)
    offsets = random.normal(size=(count, 3))
    # Steeper than a Gaussian in the middle and longer outside.
    offsets *= radius * random.exponential(1.0, (count, 1))
    speed = DISPERSION * 10 ** ((heaviest - 14.0) / 3)
    positions = np.concatenate([centre[None], centre + offsets])
    velocities = motion + np.concatenate([np.zeros((1, 3)), random.normal(0, speed, (count, 3))])
    return positions, velocities, np.concatenate([[heaviest], draw_log_mass(random, count, most=heaviest)])


def simulate(random: np.random.Generator, linking: float) -> simulation.Record:
    """One record; what is drawn does not depend on the linking length."""
    positions, velocities, log_mass = draw_box(random)
    around = environment(positions, log_mass)
    scatter = scatter_of_mass(log_mass)
    stars = mean_stars(log_mass, around) + scatter * random.normal(size=len(log_mass))
    senders, receivers = within_radius(positions, linking, box=BOX)
    return {
        "nodes": log_mass[:, None],
        "senders": senders,
        "receivers": receivers,
        "edges": edge_features(positions, velocities, senders, receivers),
        "positions": positions,
        "velocities": velocities,
        "box": np.float32(BOX),
        "node_target": stars[:, None].astype(np.float32),
        "node_valid": np.ones(len(log_mass), np.uint8),
        "scatter": scatter.astype(np.float32),
        "environment": around.astype(np.float32),
    }


class Halos(simulation.SimulatedBuilder):
    """TFDS builder of "halos": nodes (n, 1), senders, receivers, edges (e, 5), positions, velocities, node_target."""

    name = "halos"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        return {
            **graphs.fields(len(NODE_CHANNELS), edges=len(EDGE_CHANNELS)),
            "positions": graphs.table(3),
            "velocities": graphs.table(3),
            "box": simulation.scalar(),
            "node_target": graphs.table(len(TARGETS)),
            "node_valid": graphs.column(np.uint8),
            **{field: graphs.column(np.float32) for field in PROPERTIES},
        }

    def record(self, split: str, number: int) -> simulation.Record:
        """Record `number` of a split; every setting draws the same haloes."""
        setting = simulation.setting_of(self.builder_config.name)
        return self.simulate(simulation.generator(self.name, "default", split, number), number, setting)

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `simulate` of this module."""
        return simulate(random, LINKING[setting])
