"""A ball in a box: its motion against integrated equations, its noise, and what may be known from one look or more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

from zoo_datasets import bouncing_ball as module
from zoo_datasets import simulation
from zoo_datasets.loading import catalogue
from zoo_datasets.loading.pipeline import in_memory

LOW, HIGH = module.RADIUS, 1 - module.RADIUS
COUNT = 1000


def many(setting, count, split="test"):
    generators = (simulation.generator("bouncing_ball", setting, split, n) for n in range(count))
    records = [module.simulate(random, setting) for random in generators]
    return {field: np.stack([record[field] for record in records]) for field in records[0]}


@pytest.fixture(scope="module")
def records():
    return many("default", COUNT)


def rms(errors):
    return np.sqrt(np.mean(np.square(errors)))


def integrated(place, velocity, drag, pull, times):
    """One coordinate by a solver of differential equations that stops at every wall: heights and walls hit."""
    equations = lambda t, state: (state[1], -drag * state[1] - pull)
    floor, ceiling = (lambda t, state: state[0] - LOW), (lambda t, state: HIGH - state[0])
    for wall in (floor, ceiling):
        wall.terminal, wall.direction = True, -1
    start, state, heights, hits, count = 0.0, (place, velocity), [], [], 0
    while len(heights) < len(times):
        left = times[len(heights) :]
        found = solve_ivp(
            equations, (start, times[-1] + 1), state, events=(floor, ceiling), rtol=1e-11, atol=1e-13, dense_output=True
        )
        inside = left[left <= found.t[-1]]
        heights += found.sol(inside)[0].tolist() if len(inside) else []
        hits += [count] * len(inside)
        # A hair inside, so that the solver does not find the same wall again.
        start, count = found.t[-1], count + 1
        state = (np.clip(found.y[0, -1], LOW + 1e-12, HIGH - 1e-12), -found.y[1, -1])
    return np.array(heights), np.array(hits)


@pytest.mark.parametrize("gravity", [0.0, 0.006, 0.03])
@pytest.mark.parametrize("seed", range(4))
def test_motion_is_that_of_the_equations(gravity, seed):
    """ẍ = −drag ẋ, ÿ = −drag ẏ − gravity, with ẋ → −ẋ at a wall."""
    random = np.random.default_rng(seed)
    place, velocity = random.uniform(LOW, HIGH, 2), random.uniform(-0.2, 0.2, 2)
    drag = random.uniform(*module.DRAG)
    places, bounced = module.trajectory(place, velocity, drag, gravity, 40)
    times = np.arange(41.0)
    axes = [integrated(place[i], velocity[i], drag, pull, times) for i, pull in enumerate((0.0, gravity))]
    # The solver's own error over 40 steps and some bounces.
    np.testing.assert_allclose(places, np.stack([heights for heights, _ in axes], 1), atol=1e-7)
    np.testing.assert_array_equal(bounced, sum(np.diff(hits) for _, hits in axes))
    assert bounced.sum() > 3


def test_reflection_by_hand():
    width = HIGH - LOW
    places, cells = module.reflected(np.array([LOW, 0.5, HIGH + 0.1, LOW - 0.2, LOW + 2 * width + 0.3]))
    np.testing.assert_allclose(places, [LOW, 0.5, HIGH - 0.1, LOW + 0.2, LOW + 0.3], atol=1e-12)
    assert cells.tolist() == [0, 0, 1, -1, 2]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), gravity=st.sampled_from([0.0, 0.006]))
def test_ball_stays_in_the_box(seed, gravity):
    random = np.random.default_rng(seed)
    place, velocity = random.uniform(LOW, HIGH, 2), random.uniform(-1, 1, 2)
    places, bounced = module.trajectory(place, velocity, 0.01, gravity, 20)
    assert places.min() >= LOW - 1e-12 and places.max() <= HIGH + 1e-12
    assert (bounced >= 0).all()


def test_mirrored_start_has_the_mirrored_path():
    place, velocity = np.array([0.3, 0.7]), np.array([0.09, -0.05])
    places, bounced = module.trajectory(place, velocity, 0.02, 0.0, 40)
    mirrored, same = module.trajectory(1 - place, -velocity, 0.02, 0.0, 40)
    np.testing.assert_allclose(mirrored, 1 - places, atol=1e-12)
    np.testing.assert_array_equal(same, bounced)


def test_fall_without_drag_by_hand():
    """From rest at h above the floor: √(2h / g) steps down, as many up again, to the same height."""
    height, gravity = 0.5, 0.01
    down = np.sqrt(2 * (height - LOW) / gravity)
    times = np.array([0, down / 2, down - 1e-9, 2 * down, 4 * down])
    heights, hits = module.falling(height, 0.0, 1e-9, gravity, times)
    # The drag of 1e-9 takes 1e-8 of the height; the difference that makes gravity's way loses 8 digits to rounding.
    np.testing.assert_allclose(heights, [height, height - gravity * down**2 / 8, LOW, height, height], atol=1e-5)
    assert hits.tolist() == [0, 0, 0, 1, 2]


def test_speed_of_one_without_drag_goes_one_a_step():
    np.testing.assert_array_equal(module.reach(0.0, np.arange(3.0)), [0, 1, 2])
    np.testing.assert_allclose(module.reach(1e-12, np.arange(3.0)), [0, 1, 2], rtol=1e-11)


def test_target_is_the_true_place_at_the_next_step(records):
    np.testing.assert_array_equal(records["target"][:, :-1], records["positions"][:, 1:])
    assert (records["length"] == 32).all()
    assert records["bounces"].tolist() == records["bounced"].sum(1).tolist()


@pytest.mark.parametrize(("setting", "noise"), [("default", 0.01), ("noisy", 0.05)])
def test_noise_is_what_is_added_to_the_place(setting, noise):
    records = many(setting, 200)
    rest = (records["sequence"] - records["positions"]).astype(float)
    # 12,800 numbers: the standard deviation is known to 0.6 %, the mean to 0.9 % of it; five of each.
    assert rest.std() == pytest.approx(noise, rel=0.03)
    assert abs(rest.mean()) < 0.045 * noise


def test_properties_have_their_ranges_and_direction_is_even(records):
    for field, (low, high) in {"speed": module.SPEED, "drag": module.DRAG}.items():
        assert low <= records[field].min() < 1.05 * low + 0.002 and high >= records[field].max() > 0.95 * high
    step = (records["positions"][:, 1] - records["positions"][:, 0])[records["bounced"][:, 0] == 0]
    quarter = np.bincount((step[:, 0] > 0) + 2 * (step[:, 1] > 0), minlength=4) / len(step)
    # Some 920 records: a quarter is known to 0.014; five of them.
    np.testing.assert_allclose(quarter, 0.25, atol=0.07)


def test_place_is_even_over_the_box_at_every_time(records):
    """Folding keeps an even distribution even, so that the time gives nothing away."""
    for number in (0, 15, 31):
        share = np.histogram(records["positions"][:, number], bins=4, range=(LOW, HIGH))[0] / (2 * COUNT)
        np.testing.assert_allclose(share, 0.25, atol=0.05)  # 2,000 numbers: 0.0097 each; five


def test_notes_on_what_can_be_known(records):
    """One place: stay. Two: go on. Three: exact. Only where no wall is near in time, but for the first."""
    true, after, free = (records[field] for field in ("positions", "target", "bounced"))
    true, after, free = true.astype(float), after.astype(float), free == 0
    assert rms(after - true) == pytest.approx(0.037, rel=0.03)
    two = free[:, 1:] & free[:, :-1]
    straight = (2 * true[:, 1:] - true[:, :-1] - after[:, 1:])[two]
    assert rms(straight) == pytest.approx(0.00066, rel=0.05)
    before, last = true[:, 1:-1] - true[:, :-2], true[:, 2:] - true[:, 1:-1]
    slow = np.abs(before).min(2) < 1e-3  # there float32 is no longer exact enough to divide by
    three = two[:, 1:] & two[:, :-1] & ~slow
    np.testing.assert_allclose((true[:, 2:] + last**2 / before)[three], after[:, 2:][three], atol=1e-5)


@pytest.mark.parametrize("k", [2, 4, 8])
def test_notes_on_straight_lines_through_noise(records, k):
    """σ √((4k + 2) / (k (k − 1))), by the variance of a fitted line one step beyond its last point."""
    after, seen = records["target"].astype(float), records["sequence"].astype(float)
    steps = np.arange(k)
    weights = np.linalg.pinv(np.stack([np.ones(k), steps], 1)).T @ [1, k]
    errors = []
    for end in range(k, 33, k):
        free = records["bounced"][:, end - k : end].max(1) == 0
        noise = seen[free, end - k : end] - records["positions"][free, end - k : end]
        errors.append(np.einsum("ntc,t->nc", noise, weights).ravel())
    errors = np.concatenate(errors)
    # Known to 1 / √(2n) of itself; five of them.
    expected = 0.01 * np.sqrt((4 * k + 2) / (k * (k - 1)))
    assert rms(errors) == pytest.approx(expected, rel=5 / np.sqrt(2 * len(errors)))
    if k == 2:
        two = 2 * seen[:, 1] - seen[:, 0] - after[:, 1]
        assert rms(two[records["bounced"][:, :2].max(1) == 0]) == pytest.approx(0.022, rel=0.1)


def test_frame_shows_the_ball_where_it_is():
    images = module.frames(np.array([[0.5 + 1 / 32, 0.25 + 1 / 32], [0.9, 0.1]]))
    assert images.shape == (2, 16, 16, 1)
    assert images[0, 4, 8, 0] == pytest.approx(1.0)
    assert images[0, 4, 10, 0] == pytest.approx(np.exp(-0.5 * (2 / 16 / module.BLUR) ** 2))
    row, column = np.unravel_index(images[1, ..., 0].argmax(), (16, 16))
    assert (row, column) == (1, 14)


def test_fit_to_a_frame_finds_the_ball_as_well_as_default_does():
    """Noise of the pixels over the image's slope: 0.2 · 0.08 / (√(π / 2) · 0.08 · 16) = 0.01, in sides."""
    videos = many("video", 150)
    errors = []
    for frame, place in zip(videos["sequence"][:, 5, ..., 0], videos["positions"][:, 5], strict=True):
        difference = lambda guess, frame=frame: (module.frames(guess[None])[0, ..., 0] - frame).ravel()
        errors.append(least_squares(difference, place.astype(float)).x - place)
    # 300 numbers: known to 4 %; five of them.
    assert rms(errors) == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize("config", ["default", "tiny", "noisy", "gravity", "video"])
def test_what_is_read_is_what_is_computed(tmp_path, monkeypatch, config):
    monkeypatch.setitem(module.SPLIT_SIZES, config, {"train": 3, "validation": 2, "test": 2})
    dataset = catalogue.load(f"bouncing_ball/{config}", data_dir=tmp_path)
    assert dataset.targets == module.TARGETS and dataset.class_names is None
    setting = simulation.setting_of(config)
    for split, source in dataset.splits.items():
        arrays = in_memory(source).arrays
        expected = many(setting, len(source), split)
        assert arrays.keys() == expected.keys() == module.FEATURES.keys()
        order = [np.flatnonzero(expected["speed"] == speed).item() for speed in arrays["speed"]]
        assert sorted(order) == list(range(len(source)))
        for field, values in arrays.items():
            np.testing.assert_array_equal(values, expected[field][order], err_msg=field)
            assert values.dtype == expected[field].dtype
    blind = catalogue.load(f"bouncing_ball/{config}", data_dir=tmp_path, labels=False)
    assert "target" not in blind.splits["train"][0]


def test_settings_and_sizes_fit_together():
    assert {simulation.setting_of(config) for config in module.SPLIT_SIZES} == set(module.SETTINGS)
    first = [many(setting, 1)["speed"].item() for setting in module.SETTINGS]
    assert len(set(first)) == len(first)
    for field, text in module.FEATURES.items():
        assert ("not an input" in text) == (field not in ("sequence", "length", "target"))
    description = catalogue.describe("bouncing_ball")
    assert description.splits == {"train": 4000, "validation": 500, "test": 1000}
