"""Jets: kinematics, the features' definitions, and that mass and momentum do not tell the classes apart."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from zoo_datasets import jets as module
from zoo_datasets import simulation
from zoo_datasets.loading import catalogue

COUNT = 600


def simulated(number):
    return module.simulate(simulation.generator("jets", "default", "test", number), number % 2)


@pytest.fixture(scope="module")
def records():
    """Six hundred jets, the classes in turn; 1 s."""
    return [simulated(number) for number in range(COUNT)]


seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@given(seeds)
def test_cylindrical_and_four_momentum_are_inverse(random):
    pt, eta, phi = random.uniform(0.1, 500, 8), random.uniform(-3, 3, 8), random.uniform(-3, 3, 8)
    momentum = module.four_momentum(pt, eta, phi)
    for got, expected in zip(module.cylindrical(momentum), (pt, eta, phi), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(momentum[:, 0], np.linalg.norm(momentum[:, 1:], axis=1), rtol=1e-12)


@given(seeds)
def test_boosts_keep_masses_and_are_undone_by_the_opposite(random):
    momentum = module.four_momentum(random.uniform(1, 50, 5), random.normal(size=5), random.normal(size=5))
    momentum[:, 0] += random.uniform(0.1, 5, 5)
    velocity = random.normal(size=3)
    velocity *= random.uniform(0.1, 0.95) / np.linalg.norm(velocity)
    moved = module.boosted(momentum, velocity)
    np.testing.assert_allclose(module.mass(moved), module.mass(momentum), rtol=1e-7)
    np.testing.assert_allclose(module.boosted(moved, -velocity), momentum, rtol=1e-8, atol=1e-8)


def test_boost_by_hand():
    """A particle of mass 3 at rest, at velocity 0.8 along x: E = 3 γ = 5, p = 4."""
    moved = module.boosted(np.array([[3.0, 0, 0, 0]]), np.array([0.8, 0, 0]))
    np.testing.assert_allclose(moved, [[5, 4, 0, 0]], atol=1e-12)


@given(seeds)
def test_decay_keeps_the_momentum_and_is_into_massless_partons(random):
    boson = np.array([math.hypot(500, 85), 300.0, 400.0, 0.0])
    partons = module.decay(random, boson)
    np.testing.assert_allclose(partons.sum(0), boson, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(partons[:, 0], np.linalg.norm(partons[:, 1:], axis=1), rtol=1e-12)


def test_decay_is_even_in_all_directions():
    """The share of the energy is even between (1 − β) / 2 and (1 + β) / 2."""
    random, boson = np.random.default_rng(0), np.array([math.hypot(500, 85), 500.0, 0.0, 0.0])
    share = np.array([module.decay(random, boson)[0, 0] for _ in range(3000)]) / boson[0]
    beta = 500 / boson[0]
    assert share.min() >= (1 - beta) / 2 - 1e-9 and share.max() <= (1 + beta) / 2 + 1e-9
    assert np.mean(share) == pytest.approx(0.5, abs=0.027)
    assert np.mean(np.abs(share - 0.5) < beta / 4) == pytest.approx(0.5, abs=0.046)


@pytest.mark.parametrize("make", [module.one_prong, module.two_prongs])
def test_jets_have_the_mass_that_was_drawn(make):
    """The last of four steps; each makes the error at least ten times smaller."""
    random = np.random.default_rng(1)
    for wanted in (50.0, 85.0, 140.0):
        assert module.mass(make(random, 500.0, wanted).sum(0)) == pytest.approx(wanted, rel=1e-3)


def test_features_by_hand():
    """Two particles; momentum 30 and 10 along x and a little aside: the axis is in between, near the harder."""
    particles = module.four_momentum(np.array([10.0, 30.0]), np.array([0.2, 0.0]), np.array([0.1, -0.1]))
    points, jet = module.features(particles)
    pt, eta, phi = module.cylindrical(particles.sum(0))
    np.testing.assert_allclose(jet, particles.sum(0), rtol=1e-12)
    expected = []
    for place, energy in ((1, 30.0), (0, 10 * math.cosh(0.2))):
        own = ([10.0, 30.0][place], [0.2, 0.0][place] - eta, [0.1, -0.1][place] - phi)
        logs = (math.log(own[0]), math.log(energy), math.log(own[0] / pt), math.log(energy / jet[0]))
        expected.append([own[1], own[2], *logs, math.hypot(own[1], own[2])])
    np.testing.assert_allclose(points, expected, rtol=1e-5, atol=1e-6)  # float32


@pytest.mark.parametrize("turn", [1.0, math.pi - 0.05, -3.0])
def test_features_do_not_change_where_the_jet_is_turned_around_the_beam(turn):
    particles = module.two_prongs(np.random.default_rng(0), 500.0, 85.0)
    pt, eta, phi = module.cylindrical(particles)
    turned = module.four_momentum(pt, eta, module.wrapped(phi + turn))
    np.testing.assert_allclose(module.features(turned)[0], module.features(particles)[0], rtol=1e-5, atol=1e-6)


def test_records_are_sets_within_the_radius_hardest_first(records):
    for record in records:
        points = record["points"]
        assert points.dtype == np.float32 and points.shape[1] == 7 and 1 <= len(points) <= module.MOST
        assert np.isfinite(points).all() and (np.diff(points[:, 2]) <= 0).all()
        assert points[:, 2].min() > math.log(module.THRESHOLD)
        np.testing.assert_allclose(points[:, 6], np.hypot(points[:, 0], points[:, 1]), rtol=1e-4, atol=1e-6)
        # The axis of those that are left is a little beside that of all.
        assert points[:, 6].max() < module.RADIUS + 0.1
        assert np.abs(record["jet_phi"]) <= np.float32(math.pi)


def test_properties_are_those_of_the_particles(records):
    """Summed from the features, where none was cut off."""
    for record in records[:50]:
        if len(record["points"]) < module.MOST:
            eta, phi, log_pt = record["points"].T[:3].astype(np.float64)
            jet = module.four_momentum(np.exp(log_pt), eta + record["jet_eta"], phi + record["jet_phi"]).sum(0)
            got = (*module.cylindrical(jet), module.mass(jet))
            for value, field in zip(got, module.PROPERTIES, strict=True):
                assert value == pytest.approx(float(record[field]), rel=1e-3, abs=1e-4)
            relative = record["points"][:, 4].astype(np.float64)
            np.testing.assert_allclose(relative, log_pt - math.log(record["jet_pt"]), atol=1e-5)


def test_mass_and_momentum_have_nearly_the_same_distribution(records):
    """Largest distance of the cumulative distributions, which bounds what one cut is right in: (1 + distance) / 2."""
    for field, most in (("jet_mass", 0.25), ("jet_pt", 0.15), ("jet_eta", 0.15), ("jet_phi", 0.15)):
        values = np.array([record[field] for record in records])
        assert ks_2samp(values[::2], values[1::2]).statistic < most, field
    labels = [record["label"] for record in records]
    assert np.bincount(labels).tolist() == [COUNT // 2, COUNT // 2]


def test_two_prongs_are_two():
    """Beyond 0.15 of the hardest particle, the rest of two prongs is near one other particle, that of one is not."""
    random = np.random.default_rng(0)
    shares = []
    for make in (module.one_prong, module.two_prongs):
        found = []
        for _ in range(150):
            pt, eta, phi = module.cylindrical(make(random, 500.0, 85.0))
            for _ in range(2):
                near = np.hypot(eta - eta[pt.argmax()], phi - phi[pt.argmax()]) < 0.15
                share, pt = pt[near].sum() / pt.sum(), np.where(near, 0, pt)
            found.append(share)
        shares.append(np.median(found))
    assert shares[0] < 0.65 and shares[1] > 0.8


def test_what_is_read_is_what_is_computed(tmp_path):
    dataset = catalogue.load("jets/tiny", data_dir=tmp_path)
    assert dataset.class_names == module.CLASS_NAMES and dataset.channels == module.CHANNELS
    assert {split: len(source) for split, source in dataset.splits.items()} == module.SPLIT_SIZES["tiny"]
    expected = {record["points"].tobytes(): record for record in map(simulated, range(12))}
    for number in range(12):
        record = dataset.splits["test"][number]
        assert record.keys() == module.FEATURES.keys()
        twin = expected.pop(record["points"].tobytes())
        assert all(record[field] == twin[field] for field in ("label", *module.PROPERTIES))
    for field, told in module.FEATURES.items():
        assert ("not an input" in told) == (field in module.PROPERTIES)
