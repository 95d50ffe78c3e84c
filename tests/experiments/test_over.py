"""`zoo over` and `zoo sample` on tiny networks trained on own sequences."""

import csv
import dataclasses

import numpy as np
import pytest

from zoo_experiments import experiments
from zoo_experiments.verbs import sequence_figures
from zoo_experiments.verbs.over import drawn, told_times
from zoo_experiments.verbs.runs import open_run
from zoo_experiments.verbs.sequence_reporting import by_step, lag_line
from zoo_experiments.verbs.sequence_scores import dropout_probabilities, entropy
from zoo_experiments.verbs.statistics import shares_kept

SETTINGS = ("--epochs", "2", "--batch-size", "8", "--evaluations", "1", "--optimisation.ema", "0")


@pytest.fixture(scope="module")
def runs(zoo, tmp_path_factory):
    """Folder with a network on whole series with times and one on the next character."""
    root = tmp_path_factory.mktemp("over")
    random = np.random.default_rng(0)
    lengths = random.integers(3, 9, 60)
    np.savez(
        root / "series.npz",
        sequences=random.normal(size=(60, 8, 2)),
        lengths=lengths,
        times=np.cumsum(random.uniform(0.5, 1.5, (60, 8)), axis=1),
        labels=np.arange(60) % 2,
    )
    (root / "text.txt").write_text("the cat sat on the mat\n" * 250, encoding="utf-8")
    tiny = ("--runs", root, *SETTINGS)
    plain = ("--sequences.softening", "0", "--sequences.add", "--baseline", "", "--properties")
    made = [
        zoo(
            "train", "light_curves", "--data", root / "series.npz", *plain, "--options", "width=4", "dropout=0.2", *tiny
        ),
        zoo("train", "text", "--data", root / "text.txt", "--options", "width=8", "embedding=4", *tiny),
    ]
    assert [one.code for one in made] == [0, 0], [one.err for one in made]
    return root


@pytest.mark.parametrize(
    ("quantity", "run"),
    [("time", "light_curves"), ("gradient", "light_curves"), ("length", "light_curves"), ("step", "text")],
)
def test_a_line_for_every_run_is_drawn_and_written(zoo, runs, tmp_path, quantity, run):
    outcome = zoo("over", quantity, run, "--runs", runs, "--out", tmp_path)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / f"over_{quantity}.png").stat().st_size > 1000
    with (tmp_path / f"over_{quantity}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["run"].partition(",")[0] for row in rows} == {run}
    for row in rows:
        assert float(row["low"]) <= float(row["value"]) + 1e-9 and float(row["value"]) <= float(row["high"]) + 1e-9


@pytest.mark.parametrize(
    ("quantity", "run", "told"),
    [
        ("step", "light_curves", "whole sequences"),
        ("time", "text", "zoo over step"),
        ("colour", "light_curves", "neither time, step, gradient, certainty nor a number"),
    ],
)
def test_what_a_run_has_not_is_refused(zoo, runs, tmp_path, quantity, run, told):
    outcome = zoo("over", quantity, run, "--runs", runs, "--out", tmp_path)
    assert outcome.code == 2
    assert told in outcome.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "told"),
    [("light_curves", "days since the trigger"), ("spcc", "days since the trigger"), ("series.npz", "time")],
)
def test_the_axis_of_times_says_what_the_data_set_says(data, told):
    assert told_times(dataclasses.replace(experiments()["light_curves"], data=data)) == told
    line = (np.arange(3.0), np.ones(3), np.ones(3), np.ones(3))
    figure = drawn("time", {"network": line}, "accuracy", chance=None, times=told)
    assert figure.axes[0].get_xlabel() == told


def test_a_text_goes_on(zoo, runs):
    outcome = zoo("sample", "text", "--prompt", "the ", "--characters", "30", "--runs", runs)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("the ")
    assert len(outcome.out.rstrip("\n")) <= 34
    again = zoo("sample", "text", "--prompt", "the ", "--characters", "30", "--runs", runs)
    assert again.out == outcome.out
    other = zoo("sample", "text", "--prompt", "the ", "--characters", "30", "--seed", "1", "--runs", runs)
    assert other.out != outcome.out


@pytest.mark.parametrize(
    ("run", "more", "told"),
    [
        ("text", ("--prompt", ""), "at least one character"),
        ("text", ("--prompt", "Ω"), "'Ω'"),
        ("text", ("--characters", "0"), "characters"),
        ("light_curves", (), "not trained on the next symbol"),
    ],
)
def test_prompts_and_runs_that_cannot_go_on_are_refused(zoo, runs, run, more, told):
    outcome = zoo("sample", run, *more, "--runs", runs)
    assert outcome.code == 2
    assert told in outcome.err


def test_the_runs_remember_what_their_sequences_are(runs):
    text = open_run("text", root=str(runs))
    assert text.field == "sequence" and text.vocabulary == text.class_names and "\n" in text.vocabulary
    assert open_run("light_curves", root=str(runs)).channels == {"channel 0": "", "channel 1": ""}


def test_mean_error_of_each_step_by_hand():
    wrong = np.array([[1.0, 2.0, np.nan], [3.0, 6.0, 5.0]])
    steps, mean, low, high = by_step(wrong)
    # The third step has one sequence only, hence no interval, and is left out.
    np.testing.assert_array_equal(steps, [1, 2])
    np.testing.assert_allclose(mean, [2, 4])
    np.testing.assert_allclose(high - mean, 1.96 * np.array([1, 2]))
    np.testing.assert_allclose(mean - low, 1.96 * np.array([1, 2]))


def test_gradients_that_are_nothing_are_left_out():
    size = np.array([[1.0, 0.1, 0.0]] * 5)
    lags, median, _, _ = lag_line(size)
    np.testing.assert_array_equal(lags, [0, 1])
    np.testing.assert_allclose(median, [1, 0.1])


def test_axes_say_what_they_show():
    x = np.arange(1.0, 4)
    figure = drawn("lag", {"a": (x, x, x, x)}, "accuracy", chance=0.25)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("lag", "accuracy")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "chance"]
    assert (
        sequence_figures.against({"a": (x, x, x, x)}, x_label="x", y_label="y", log_y=True).axes[0].get_yscale()
        == "log"
    )


def test_shares_of_the_most_certain_by_hand():
    hits = np.array([1, 0, 1, 1])
    kept, share, low, high = shares_kept(hits, np.array([0.1, 0.9, 0.2, 0.3]), points=4)
    np.testing.assert_allclose(kept, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(share, [1, 1, 1, 0.75])
    assert (low <= share).all() and (share <= high).all()
    np.testing.assert_allclose(entropy(np.array([[0.5, 0.5], [1.0, 0.0]])), [1, 0], atol=1e-9)


def test_dropped_units_differ_and_are_those_of_the_seed(runs):
    run = open_run("light_curves", root=str(runs))
    made = run.setup(splits=("validation",))
    variables, source = run.weights(made).state.averaged, made.data["validation"]
    p = dropout_probabilities(made, variables, source, samples=5)
    assert p.shape == (5, len(source), 2)
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-5)
    assert p.std(0).max() > 1e-4
    np.testing.assert_array_equal(p, dropout_probabilities(made, variables, source, samples=5))


def test_pools_are_compared_without_runs(zoo, tmp_path):
    outcome = zoo("over", "pools", "--out", tmp_path)
    assert outcome.code == 0 and (tmp_path / "multisets.png").stat().st_size > 5000
    assert (tmp_path / "multisets.csv").read_text().startswith("first,second")
    outcome = zoo("over", "pools", "text", "--out", tmp_path)
    assert outcome.code == 2 and "compares pools by themselves; it takes no run" in outcome.err
