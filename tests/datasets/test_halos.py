"""Haloes: the law holds, its scatter is the stated one, and features of edges have the symmetries of the box."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from zoo_datasets import halos as module
from zoo_datasets import simulation
from zoo_datasets.loading import catalogue
from zoo_datasets.loading.graph_records import require_graph
from zoo_datasets.loading.neighbours import within_radius

COUNT = 40
BOX = module.BOX


def simulated(number, setting="default"):
    random = simulation.generator("halos", "default", "test", number)
    return module.simulate(random, module.LINKING[setting])


@pytest.fixture(scope="module")
def records():
    """Forty boxes; 1 s."""
    return [simulated(number) for number in range(COUNT)]


@pytest.fixture(scope="module")
def haloes(records):
    """All haloes of all boxes, one array for each field of nodes."""
    fields = ("nodes", "node_target", "scatter", "environment")
    return {field: np.concatenate([record[field].reshape(-1) for record in records]) for field in fields}


def test_records_are_graphs_in_the_box(records):
    for record in records:
        require_graph("halos", record)
        assert record.keys() == module.FEATURES.keys()
        assert record["positions"].min() >= 0 and record["positions"].max() < BOX
        assert record["nodes"].min() > module.LEAST - 1e-5 and record["nodes"].max() < 14.5
        assert len(np.unique(record["positions"], axis=0)) == len(record["nodes"])
        assert 250 < len(record["nodes"]) < 600


def test_stars_by_hand():
    """At M₁ both powers are 1 and M* / M = N; far below, 2 N (M / M₁)^β; far above, 2 N (M / M₁)^−γ."""
    knee, norm, beta, gamma = module.MOSTER
    assert module.stars_of_mass(knee) == pytest.approx(knee + np.log10(norm), abs=1e-12)
    assert module.stars_of_mass(knee - 5) == pytest.approx(knee - 5 + np.log10(2 * norm) - 5 * beta, abs=1e-8)
    assert module.stars_of_mass(knee + 5) == pytest.approx(knee + 5 + np.log10(2 * norm) - 5 * gamma, abs=1e-8)
    masses = np.array([10.0, 11.0, 12.0, 13.0, 14.0])
    np.testing.assert_allclose(module.scatter_of_mass(masses), [0.2, 0.2, 0.14, 0.08, 0.08])


def test_environment_is_the_mass_around_counted_one_by_one(records):
    record = records[0]
    positions, masses = record["positions"].astype(np.float64), 10 ** record["nodes"][:, 0].astype(np.float64)
    for node in range(0, len(positions), 7):
        around = 0.0
        for other in range(len(positions)):
            gap = np.abs(positions[node] - positions[other])
            if other != node and np.hypot.reduce(np.minimum(gap, BOX - gap)) <= module.NEIGHBOURHOOD:
                around += masses[other]
        assert record["environment"][node] == pytest.approx(np.log10(1 + around / module.MEAN_MASS), abs=1e-5)


def test_scatter_around_the_law_is_the_stated_one(haloes):
    mean = module.mean_stars(haloes["nodes"], haloes["environment"])
    rest = (haloes["node_target"] - mean) / haloes["scatter"]
    # 16,000 haloes: 0.008 and 0.006; five of them.
    assert abs(rest.mean()) < 0.04 and rest.std() == pytest.approx(1, abs=0.03)
    assert np.mean(np.abs(rest) < 1) == pytest.approx(0.683, abs=0.02)
    for low, high in ((11.0, 11.3), (11.6, 12.0), (13.0, 15.0)):
        here = (haloes["nodes"] >= low) & (haloes["nodes"] < high)
        assert here.sum() > 300
        assert rest[here].std() == pytest.approx(1, abs=5 / np.sqrt(2 * here.sum()))
    assert np.sqrt(np.mean(haloes["scatter"] ** 2)) == pytest.approx(0.17, abs=0.003)


def test_notes_on_mass_and_neighbourhood(haloes, records):
    assert abs(np.corrcoef(haloes["nodes"], haloes["environment"])[0, 1]) < 0.05
    assert np.mean(haloes["environment"] == 0) == pytest.approx(0.35, abs=0.04)
    # What mass alone can do: the spread around the mean target of each bin of mass, in narrow bins.
    bins = np.digitize(haloes["nodes"], np.quantile(haloes["nodes"], np.linspace(0, 1, 101)[1:-1]))
    means = np.bincount(bins, haloes["node_target"]) / np.bincount(bins)
    assert np.sqrt(np.mean((haloes["node_target"] - means[bins]) ** 2)) == pytest.approx(0.23, abs=0.015)


def test_masses_follow_the_mass_function():
    """Shares above some masses against the integral of M^−0.9 exp(−M / 10^13.8) over lg M."""
    drawn = module.draw_log_mass(np.random.default_rng(0), 40000)
    grid = np.linspace(module.LEAST, module.MOST, 20001)
    density = 10 ** (module.SLOPE * (grid - module.LEAST)) * np.exp(-(10 ** (grid - module.KNEE)))
    tail = np.cumsum(density[::-1])[::-1] / density.sum()
    for limit in (11.2, 12.0, 13.0, 13.8):
        share = np.interp(limit, grid, tail)
        assert np.mean(drawn > limit) == pytest.approx(share, abs=5 * np.sqrt(share / 40000))
    assert drawn.min() >= module.LEAST
    assert module.draw_log_mass(np.random.default_rng(0), 5000, most=11.5).max() <= 11.5


def features_of(positions, velocities, box=BOX):
    senders, receivers = within_radius(positions, 3.0, box=box)
    return module.edge_features(positions, velocities, senders, receivers, box=box), (senders, receivers)


@pytest.fixture(scope="module")
def one(records):
    """Positions and velocities of a box, float64."""
    return records[1]["positions"].astype(np.float64), records[1]["velocities"].astype(np.float64)


# Distances are float64 until the end; the features are float32, of cosines near 0 an absolute 1e-7.
CLOSE = {"rtol": 1e-6, "atol": 2e-7}


def test_features_by_hand():
    """Two haloes 2 Mpc apart through the wall, one moving towards the other, which moves upwards."""
    positions = np.array([[49.0, 5, 5], [1.0, 5, 5]])
    velocities = np.array([[300.0, 0, 0], [0, 0, 400]])
    features, (senders, receivers) = features_of(positions, velocities)
    assert (senders.tolist(), receivers.tolist()) == ([1, 0], [0, 1])
    # Receiver 0: separation (2, 0, 0), relative velocity (−300, 0, 400).
    np.testing.assert_allclose(features[0], [2, 500, -0.6, 1, 0], **CLOSE)
    # Receiver 1: separation (−2, 0, 0), relative velocity (300, 0, −400).
    np.testing.assert_allclose(features[1], [2, 500, -0.6, 0, 0], **CLOSE)


def test_features_without_direction_are_0():
    features = module.edge_features(np.zeros((2, 3)), np.zeros((2, 3)), np.array([1]), np.array([0]))
    np.testing.assert_array_equal(features, 0)
    assert module.edge_features(np.zeros((2, 3)), np.zeros((2, 3)), *np.zeros((2, 0), int)).shape == (0, 5)


@pytest.mark.parametrize("shift", [(17.3, -4.1, 31.0), (BOX, -BOX, 0)])
def test_features_and_edges_do_not_change_where_the_box_is_moved_and_wrapped(one, shift):
    positions, velocities = one
    features, edges = features_of(positions, velocities)
    for moved in (np.mod(positions + shift, BOX), positions + shift):
        again, same = features_of(moved, velocities)
        np.testing.assert_array_equal(same, edges)
        np.testing.assert_allclose(again, features, **CLOSE)
        log_mass = np.linspace(11, 14, len(positions))
        np.testing.assert_allclose(
            module.environment(moved, log_mass), module.environment(positions, log_mass), rtol=1e-9
        )


def test_features_do_not_change_where_the_box_is_turned_or_mirrored(one):
    """The 48 symmetries of the cube map the periodic box onto itself; five of them."""
    positions, velocities = one
    features, edges = features_of(positions, velocities)
    random = np.random.default_rng(0)
    for _ in range(5):
        axes, signs = random.permutation(3), random.choice([-1.0, 1.0], 3)
        again, same = features_of(np.mod(signs * positions[:, axes], BOX), signs * velocities[:, axes])
        np.testing.assert_array_equal(same, edges)
        np.testing.assert_allclose(again, features, **CLOSE)


def test_features_do_not_change_under_any_rotation_without_a_box(one):
    positions, velocities = one
    features, edges = features_of(positions, velocities, box=None)
    turn = Rotation.random(rng=np.random.default_rng(3)).as_matrix()
    again, same = features_of(positions @ turn.T, velocities @ turn.T, box=None)
    np.testing.assert_array_equal(same, edges)
    np.testing.assert_allclose(again, features, **CLOSE)


def test_first_three_features_do_not_change_in_a_moving_frame(one):
    positions, velocities = one
    features, _ = features_of(positions, velocities)
    again, _ = features_of(positions, velocities + np.array([300.0, -100, 50]))
    np.testing.assert_allclose(again[:, :3], features[:, :3], rtol=1e-6, atol=2e-6)
    assert not np.allclose(again[:, 3:], features[:, 3:], atol=1e-2)


def test_linking_lengths_share_haloes_and_nest_edges():
    longest, known = simulated(3, "link_5"), None
    for setting in sorted(module.LINKING, key=module.LINKING.get):
        record, length = simulated(3, setting), module.LINKING[setting]
        for field in ("nodes", "positions", "velocities", "node_target", "scatter"):
            np.testing.assert_array_equal(record[field], longest[field])
        assert record["edges"][:, 0].max() <= length
        edges = set(zip(record["senders"].tolist(), record["receivers"].tolist(), strict=True))
        assert len(edges) == len(record["senders"]) and edges == {(b, a) for a, b in edges}
        assert known is None or known < edges
        known = edges


@pytest.mark.parametrize("config", ["tiny", "link_1"])
def test_what_is_read_is_what_is_computed(tmp_path, monkeypatch, config):
    monkeypatch.setitem(module.SPLIT_SIZES, config, {"train": 2, "validation": 1, "test": 2})
    dataset = catalogue.load(f"halos/{config}", data_dir=tmp_path)
    assert dataset.targets == module.TARGETS and dataset.node_channels == module.NODE_CHANNELS
    assert dataset.edge_channels == module.EDGE_CHANNELS and dataset.class_names is None
    setting = simulation.setting_of(config)
    expected = {record["nodes"].tobytes(): record for record in (simulated(0, setting), simulated(1, setting))}
    for number in range(2):
        record = dataset.splits["test"][number]
        for field, values in expected.pop(record["nodes"].tobytes()).items():
            np.testing.assert_array_equal(record[field], values, err_msg=field)
    blind = catalogue.load(f"halos/{config}", data_dir=tmp_path, labels=False)
    assert blind.targets is None and "node_target" not in blind.splits["test"][0]


def test_texts_fit_the_fields():
    for field, told in module.FEATURES.items():
        assert ("not an input" in told) == (field in module.PROPERTIES)
    assert {simulation.setting_of(config) for config in module.SPLIT_SIZES} == set(module.LINKING)
