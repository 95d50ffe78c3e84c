"""Jets of particles: did one parton make it, or the two of a heavy boson's decay?

Simulated jets as sets of particles: two prongs from the decay of a boson that is much faster than it is heavy, or one
prong that radiates; with soft background on both. Mass and momentum have the same distribution in both classes.
"""

import math
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import graphs, simulation

# Of jets: radius; transverse momentum, GeV; pseudorapidity; ln mass, GeV.
RADIUS, MOMENTUM, RAPIDITY, LOG_MASS = 0.8, (400.0, 600.0), 2.0, (math.log(85.0), 0.2)
# Particles: least transverse momentum, GeV; the most that are kept of a jet.
THRESHOLD, MOST = 0.5, 64
# Fragments of a parton: mean number at 100 GeV and for each factor of e; transverse momentum to its axis, GeV.
FRAGMENTS, TRANSVERSE = (10.0, 4.0), 0.6
# Radiation of one prong: mean number; share of the momentum; distance from the axis. Background: number; mean, GeV.
EMISSIONS, SHARE, DISTANCE = 2.0, (0.01, 0.4), (0.05, 0.6)
BACKGROUND = (20.0, 0.8)
# By so much may distances in a jet of one prong be stretched so that it has the mass that was drawn.
STRETCH = (0.5, 2.0)

CLASS_NAMES = ("one_prong", "two_prong")
CHANNELS = {
    "delta_eta": "1",
    "delta_phi": "rad",
    "log_pt": "ln GeV",
    "log_energy": "ln GeV",
    "log_relative_pt": "1",
    "log_relative_energy": "1",
    "delta_r": "1",
}
TITLE = "Simulated jets as sets of particles: one prong or two, at equal mass and momentum"
UNITS = (
    "points: float32, n × 7, one row for each particle, those of the largest transverse momentum first, n at most 64: "
    "pseudorapidity and azimuth relative to the jet's axis, the latter in −π…π; ln of the transverse momentum pT and "
    "of the energy E, GeV; ln of pT and E over those of the jet; distance from the axis, √(Δη² + Δφ²) (Qu & Gouskos "
    "2020, table 2). label: 0 one prong, 1 two prongs. jet_pt, jet_eta, jet_phi, jet_mass, of all particles within "
    "0.8 of the axis: properties, not inputs."
)
LICENCE = simulation.LICENCE
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 6000, "validation": 1000, "test": 2000},
    "tiny": {"train": 24, "validation": 12, "test": 12},
    "full": {"train": 60000, "validation": 6000, "test": 12000},
}
PROPERTIES = {"jet_pt": "GeV", "jet_eta": "1", "jet_phi": "rad", "jet_mass": "GeV"}
FEATURES = {
    "points": "(n, 7) float32: Δη, Δφ, ln pT, ln E, ln pT/pT(jet), ln E/E(jet), ΔR",
    "label": "0 one prong, 1 two prongs",
    **{field: f"float32, {unit}; a property, not an input" for field, unit in PROPERTIES.items()},
}
SPLIT_POLICY = "Every jet is drawn on its own; classes alternate."
NOTES = (
    "Two prongs: a boson of the drawn mass decays at rest in all directions into two massless partons, exactly "
    "boosted. One prong: a parton with radiation around it. Partons become particles whose number grows with ln pT; "
    "all are massless. Then distances within the jet are stretched until its mass is the drawn one, ln 85 ± 0.2, and "
    "about 20 soft particles are added: mass alone is right in 0.57, mass, pT and number of particles in 0.71, "
    "N-subjettiness τ₂/τ₁ in 0.82, all these and a few more in 0.89 (boosted trees, area under the curve 0.95). The "
    "formulas have the manners of jets and stand for no shower; the classes differ more in the number of particles "
    "than they should. Jets with more than 64 particles lose the softest."
)
CITATION = """\
@article{qu2020jet,
  title   = {{ParticleNet}: Jet tagging via particle clouds},
  author  = {Qu, Huilin and Gouskos, Loukas},
  journal = {Physical Review D},
  volume  = {101},
  pages   = {056019},
  year    = {2020},
  doi     = {10.1103/PhysRevD.101.056019},
}
@article{thaler2011identifying,
  title   = {Identifying boosted objects with {N}-subjettiness},
  author  = {Thaler, Jesse and Van Tilburg, Ken},
  journal = {Journal of High Energy Physics},
  volume  = {2011},
  number  = {3},
  pages   = {15},
  year    = {2011},
  doi     = {10.1007/JHEP03(2011)015},
}"""


def four_momentum(pt: np.ndarray, eta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """(E, px, py, pz) (…, 4) of massless particles."""
    return np.stack([pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=-1)


def cylindrical(momentum: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Transverse momentum, pseudorapidity and azimuth of (E, px, py, pz) (…, 4) that are not along the beam."""
    pt = np.hypot(momentum[..., 1], momentum[..., 2])
    return pt, np.arcsinh(momentum[..., 3] / pt), np.arctan2(momentum[..., 2], momentum[..., 1])


def mass(momentum: np.ndarray) -> np.ndarray:
    """√(E² − p²) of (E, px, py, pz) (…, 4), 0 where rounding makes the square negative."""
    return np.sqrt(np.maximum(momentum[..., 0] ** 2 - (momentum[..., 1:] ** 2).sum(-1), 0))


def wrapped(angle: np.ndarray) -> np.ndarray:
    """The same angle in −π…π."""
    return np.mod(angle + math.pi, 2 * math.pi) - math.pi


def boosted(momentum: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """(E, px, py, pz) (N, 4) in the frame in which their own frame moves with `velocity` (3,), |velocity| < 1."""
    square = velocity @ velocity
    gamma = 1 / math.sqrt(1 - square)
    along = momentum[:, 1:] @ velocity
    energy = gamma * (momentum[:, 0] + along)
    factor = (gamma - 1) * along / square + gamma * momentum[:, 0]
    return np.concatenate([energy[:, None], momentum[:, 1:] + factor[:, None] * velocity], axis=1)


def decay(random: np.random.Generator, momentum: np.ndarray) -> np.ndarray:
    """Momenta (2, 4) of the two massless partons that a boson (4,) decays into, in all directions alike at rest."""
    axis = random.normal(size=3)
    axis /= np.linalg.norm(axis)
    half = mass(momentum) / 2
    at_rest = half * np.array([[1.0, *axis], [1.0, *-axis]])
    return boosted(at_rest, momentum[1:] / momentum[0])


def fragments(random: np.random.Generator, parton: np.ndarray) -> np.ndarray:
    """Momenta (n, 4) of the massless particles that a parton (4,) becomes.

    Their number grows with the logarithm of its transverse momentum; their shares of the momentum are a division of it
    at random, uneven (Dirichlet, 0.6); across the parton's direction they have a normal momentum of 0.6 GeV.
    """
    pt, eta, phi = cylindrical(parton)
    mean = FRAGMENTS[0] + FRAGMENTS[1] * math.log(pt / 100)
    count = 1 + random.poisson(max(mean, 1.0))
    share = random.dirichlet(np.full(count, 0.6)) * pt
    across = random.normal(0, TRANSVERSE, (count, 2))
    # A soft particle is at most at the distance of the jet's radius.
    offset = across / np.maximum(share, np.abs(across).max(1) / RADIUS)[:, None]
    return four_momentum(share, eta + offset[:, 0], phi + offset[:, 1])


def two_prongs(random: np.random.Generator, pt: float, jet_mass: float) -> np.ndarray:
    """Particles (n, 4) of a boson of given transverse momentum and mass, GeV, at pseudorapidity and azimuth 0.

    They are stretched, too: fragments add a little to the mass.
    """
    boson = np.array([math.hypot(pt, jet_mass), pt, 0.0, 0.0])
    while True:
        partons = decay(random, boson)
        found = _stretched(np.concatenate([fragments(random, parton) for parton in partons]), jet_mass)
        if found is not None:
            return found


def one_prong(random: np.random.Generator, pt: float, jet_mass: float) -> np.ndarray:
    """Particles (n, 4) of a parton that radiates, stretched until they have the mass, at pseudorapidity and azimuth 0.

    What is radiated has shares of the momentum and distances from the axis whose logarithms are even.
    """
    while True:
        count = 1 + random.poisson(EMISSIONS)
        share, distance = (np.exp(random.uniform(*np.log(limits), count)) for limits in (SHARE, DISTANCE))
        share *= min(1.0, 0.6 / share.sum())
        turn = random.uniform(0, 2 * math.pi, count)
        parts = four_momentum(
            pt * np.append(share, 1 - share.sum()),
            np.append(distance * np.cos(turn), 0.0),
            np.append(distance * np.sin(turn), 0.0),
        )
        found = _stretched(np.concatenate([fragments(random, part) for part in parts]), jet_mass)
        if found is not None:
            return found


def _stretched(particles: np.ndarray, jet_mass: float) -> np.ndarray | None:
    """Particles whose distances from their axis are multiplied until the mass is right; None if it takes too much."""
    pt, eta, phi = cylindrical(particles)
    _, eta_axis, phi_axis = cylindrical(particles.sum(0))
    eta, phi, factor = eta - eta_axis, phi - phi_axis, 1.0
    # The mass is nearly proportional to the factor.
    for _ in range(4):
        found = four_momentum(pt, factor * eta, factor * phi)
        factor *= jet_mass / mass(found.sum(0))
        if not STRETCH[0] < factor < STRETCH[1]:
            return None
    return four_momentum(pt, factor * eta, factor * phi)


def background(random: np.random.Generator) -> np.ndarray:
    """Soft particles (n, 4) anywhere within the radius around pseudorapidity and azimuth 0."""
    count = random.poisson(BACKGROUND[0])
    distance, turn = RADIUS * np.sqrt(random.random(count)), random.uniform(0, 2 * math.pi, count)
    return four_momentum(
        THRESHOLD + random.exponential(BACKGROUND[1], count), distance * np.cos(turn), distance * np.sin(turn)
    )


def features(particles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 7) of particles (N, 4) within the radius of their axis, hardest first, and the jet's momentum (4,).

    The axis is that of the sum of all particles; the jet is the sum of those within the radius and above the threshold.
    """
    pt, eta, phi = cylindrical(particles)
    _, eta_axis, phi_axis = cylindrical(particles.sum(0))
    near = np.hypot(eta - eta_axis, wrapped(phi - phi_axis)) < RADIUS
    kept = particles[near & (pt > THRESHOLD)]
    jet = kept.sum(0)
    kept = kept[np.argsort(-np.hypot(kept[:, 1], kept[:, 2]), kind="stable")][:MOST]
    pt, eta, phi = cylindrical(kept)
    jet_pt, jet_eta, jet_phi = cylindrical(jet)
    eta, phi, energy = eta - jet_eta, wrapped(phi - jet_phi), kept[:, 0]
    columns = (eta, phi, np.log(pt), np.log(energy), np.log(pt / jet_pt), np.log(energy / jet[0]), np.hypot(eta, phi))
    return np.stack(columns, axis=1).astype(np.float32), jet


def simulate(random: np.random.Generator, label: int) -> simulation.Record:
    """One record. Momentum, mass and place are drawn first, from distributions that do not know the class."""
    pt, jet_mass = random.uniform(*MOMENTUM), math.exp(random.normal(*LOG_MASS))
    eta, phi = random.uniform(-RAPIDITY, RAPIDITY), random.uniform(-math.pi, math.pi)
    made = (two_prongs if label else one_prong)(random, pt, jet_mass)
    pt_all, eta_all, phi_all = cylindrical(np.concatenate([made, background(random)]))
    points, jet = features(four_momentum(pt_all, eta_all + eta, phi_all + phi))
    about = (*cylindrical(jet), mass(jet))
    return {
        "points": points,
        "label": label,
        **{field: np.float32(value) for field, value in zip(PROPERTIES, about, strict=True)},
    }


class Jets(simulation.SimulatedBuilder):
    """TFDS builder of "jets": points (n, 7), label, and properties of the jet."""

    name = "jets"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        return {
            "points": graphs.table(len(CHANNELS)),
            "label": tfds.features.ClassLabel(names=list(CLASS_NAMES)),
            **{field: simulation.scalar() for field in PROPERTIES},
        }

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `simulate` of this module."""
        return simulate(random, number % len(CLASS_NAMES))
