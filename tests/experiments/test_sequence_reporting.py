"""What the report of a sequence run draws: numbers by hand, values as the data have them."""

import types

import numpy as np
import pytest

from zoo_datasets.loading.records import ArraySource
from zoo_experiments.verbs import reporting
from zoo_experiments.verbs.experiment import Experiment
from zoo_experiments.verbs.sequence_reporting import (
    SHOWN,
    by_step,
    gallery,
    grid_of_times,
    lag_line,
    score_line,
    series_of,
    text_of,
)
from zoo_experiments.verbs.sequences import Sequences

LENGTH = np.array([4, 2, 3], np.int32)


def made_of(shape, *, sequences=None, channels=None, vocabulary=()):
    experiment = Experiment(sequences=sequences or Sequences())
    return types.SimpleNamespace(
        experiment=experiment, shape=shape, channels=channels or {}, vocabulary=vocabulary, field="sequence"
    )


def records(**more):
    random = np.random.default_rng(0)
    return [
        {
            "sequence": random.normal(0, 50, (4, 2)).astype(np.float32),
            "times": np.arange(4, dtype=np.float32),
            "redshift": np.float32(0.3 + i),
            "length": LENGTH[i],
            **more,
        }
        for i in range(3)
    ]


def stacked(rows):
    return ArraySource({name: np.stack([row[name] for row in rows]) for name in rows[0]})


@pytest.mark.parametrize("sequences", [Sequences(), Sequences(softening=2.0, add=("redshift",))])
def test_series_are_drawn_in_the_units_of_the_data(sequences):
    rows = records()
    source = stacked([sequences(row) for row in rows])
    for i, row in enumerate(rows):
        values, times = series_of(made_of((4, 2), sequences=sequences), source, i)
        length = LENGTH[i]
        np.testing.assert_allclose(values[:, :2], row["sequence"][:length], rtol=2e-6)  # float32 there and back
        np.testing.assert_array_equal(times, row["times"][:length])
        # What was added stands as it is.
        np.testing.assert_array_equal(values[:, 2:], np.full((length, values.shape[1] - 2), row["redshift"]))
    del source.arrays["times"]
    assert series_of(made_of((4, 2), sequences=sequences), source, 0)[1] is None


def test_texts_end_with_their_sequence_and_line_ends_are_seen():
    source = ArraySource({"sequence": np.array([[1, 2, 1, 3], [3, 1, 0, 0], [2, 2, 2, 0]]), "length": LENGTH})
    made = made_of((4,), vocabulary=("?", "a", "\n", "b"))
    assert [text_of(made, source, i) for i in range(3)] == ["a↵ab", "ba", "↵↵↵"]


def test_galleries_show_series_frames_or_texts():
    titles = [f"true {i}\nfound {i}" for i in range(12)]
    chosen = np.arange(12) % 3
    source = stacked(records())
    figure = gallery(made_of((4, 2), channels={"x": "m", "y": "m"}), source, chosen, titles, unit="days", credit="me")
    panels = [axes for axes in figure.axes if axes.axison]
    assert len(panels) == SHOWN and panels[1].get_title() == titles[1] and panels[-1].get_xlabel() == "time (days)"
    assert len(panels[1].lines[0].get_xdata()) == 2
    texts = ArraySource({"sequence": np.ones((3, 4), int), "length": LENGTH})
    figure = gallery(made_of((4,), vocabulary=("?", "a")), texts, chosen, titles, colours=["r"] * 12)
    assert [axes._left_title.get_text() for axes in figure.axes][:2] == ["true 0, found 0", "true 1, found 1"]
    assert figure.axes[1].texts[0].get_text() == "aa"
    frames = np.zeros((3, 4, 5, 5, 1), np.float32)
    for i, length in enumerate(LENGTH):
        frames[i, length - 1] = np.arange(25).reshape(5, 5, 1) + i
    video = ArraySource({"sequence": frames, "length": LENGTH})
    figure = gallery(made_of((4, 5, 5, 1)), video, chosen[:3], titles[:3])
    # The last frame of each: the others are empty.
    assert all(np.asarray(axes.images[0].get_array()).std() > 0 for axes in figure.axes if axes.images)


def test_errors_step_by_step_by_hand():
    wrong = np.array([[1.0, 4, 7, np.nan], [3, np.nan, np.nan, np.nan], [2, 6, 9, 5]])
    steps, mean, low, high = by_step(wrong)
    # Of one sequence there is no spread.
    np.testing.assert_array_equal(steps, [1, 2, 3])
    np.testing.assert_allclose(mean, [2, 5, 8])
    half = 1.96 * np.array([1 / np.sqrt(3), np.sqrt(2) / np.sqrt(2), np.sqrt(2) / np.sqrt(2)])
    np.testing.assert_allclose(high - mean, half)
    np.testing.assert_allclose(mean - low, half)


def test_gradients_over_lag_by_hand():
    size = np.array([[1.0, 4, 0, 1], [2, 5, 0, np.nan], [3, 6, 1, np.nan], [4, 7, 1, np.nan], [5, 8, 1, np.nan]])
    lags, median, low, high = lag_line(size)
    # Lag 3 belongs to one sequence, at lag 2 some have none: a logarithm could not show it.
    np.testing.assert_array_equal(lags, [0, 1])
    np.testing.assert_allclose(median, [3, 6])
    np.testing.assert_allclose([low, high], np.percentile(size[:, :2], [16, 84], axis=0))


def test_times_cover_what_there_is():
    times = np.array([[0.0, 10, 20, 30], [5, 15, 0, 0], [99, 0, 0, 0]])
    source = ArraySource({"times": times, "length": np.array([4, 2, 1])})
    grid = grid_of_times(source, 5)
    low, high = np.percentile([0, 10, 20, 30, 5, 15, 99], [2, 98])
    np.testing.assert_array_equal(grid, np.rint(np.linspace(low, high, 5)))
    short = grid_of_times(ArraySource({"times": times / 100, "length": np.array([4, 2, 1])}), 5)
    np.testing.assert_allclose(short, np.linspace(low, high, 5) / 100)


def test_a_score_over_time_has_its_intervals():
    rows = [
        [{"name": "nll", "value": 9.0, "interval": [8.0, 10.0]}, {"name": "accuracy", "value": v, "interval": [v, 1.0]}]
        for v in (0.2, 0.7)
    ]
    x, value, low, high = score_line([1, 3], rows, "accuracy")
    assert x.tolist() == [1, 3] and value.tolist() == [0.2, 0.7] == low.tolist() and high.tolist() == [1, 1]


@pytest.mark.parametrize(("data", "unit"), [("light_curves", "days"), ("bouncing_ball", ""), ("/my/own.npz", "")])
def test_the_unit_of_times_is_that_of_the_data(data, unit):
    assert reporting._time_unit(types.SimpleNamespace(experiment=Experiment(data=data))) == unit
