"""Scores of sequences against loops over their steps; time as truncation; gradients against finite differences."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

import zoo
from zoo.errors import UserError
from zoo_datasets.loading.records import ArraySource, Dataset
from zoo_experiments.verbs.experiment import Experiment, assemble
from zoo_experiments.verbs.sequence_scores import (
    errors_by_step,
    gradient_over_lag,
    over_time,
    step_scores,
    until,
    whole_scores,
)
from zoo_experiments.verbs.statistics import shares_by

N, T = 12, 6
LENGTH = np.array([6, 1, 3, 4, 5, 2, 6, 6, 1, 4, 3, 5], np.int32)
COUNTED = np.arange(T) < LENGTH[:, None]


def made_of(truth, model, *options, **more):
    """Functions of an untrained network on N records with one kind of truth."""
    rng = np.random.default_rng(0)
    arrays = {
        "sequence": rng.normal(size=(N, T, 2)).astype(np.float32),
        "times": np.where(COUNTED, np.cumsum(rng.uniform(1, 3, (N, T)), 1) - 4, 0).astype(np.float32),
        "length": LENGTH,
    }
    names = {"class_names": None}
    if truth == "class":
        arrays["label"], names = np.arange(N, dtype=np.int32) % 3, {"class_names": ("a", "b", "c")}
    elif truth == "number":
        arrays["target"], names = rng.normal(size=(N, 1)).astype(np.float32), {**names, "targets": {"y": "m"}}
    elif truth == "classes":
        arrays["label"], names = rng.integers(0, 3, (N, T)).astype(np.int32), {"class_names": ("a", "b", "c")}
    else:
        arrays["target"] = rng.normal(3, 2, (N, T, 2)).astype(np.float32)
        names = {**names, "targets": {"x": "m", "y": "m"}}
    arrays |= more
    data = Dataset("toy", {"train": ArraySource(arrays)}, description="", channels={"u": "", "v": ""}, **names)
    return assemble(Experiment(data="toy", model=model, options=options), data, splits=("train",))


def values_of(rows):
    return {row["name"]: row["value"] for row in rows}


@pytest.mark.parametrize("valid", [None, (np.random.default_rng(5).random((N, T)) > 0.3).astype(np.uint8)])
def test_scores_of_classes_of_steps_are_those_of_a_loop(valid):
    made = made_of("classes", "window", "widths=(3,)", **({} if valid is None else {"valid": valid}))
    source = made.data["train"]
    counted = COUNTED if valid is None else COUNTED & (valid > 0)
    raw = np.random.default_rng(1).normal(size=(N, T, 3)).astype(np.float32)
    rows = step_scores(made, raw, source)
    labels = source.arrays["label"]
    log_p = log_softmax(raw.astype(float), axis=-1)
    each = [(log_p[i, t, labels[i, t]], log_p[i, t].argmax() == labels[i, t]) for i, t in np.argwhere(counted)]
    nll, accuracy = -np.mean([one for one, _ in each]), np.mean([hit for _, hit in each])
    confidence, hits = np.exp(log_p.max(-1))[counted], np.array([hit for _, hit in each])
    bins = (confidence * zoo.train.BINS).astype(int)
    ece = sum(abs((hits - confidence)[bins == b].sum()) for b in range(zoo.train.BINS)) / len(hits)
    # Float32 sums against float64.
    assert values_of(rows) == pytest.approx(
        {"accuracy": accuracy, "nll": nll, "bits": nll / math.log(2), "ece": ece}, rel=1e-5
    )
    assert values_of(rows)["nll"] == pytest.approx(made.task.finalise(made.task.metrics(raw, source.arrays))["nll"])
    assert all(row["count"] == N and row["method"].endswith("resamples of sequences") for row in rows)


def test_intervals_are_by_resampling_sequences():
    """Where all steps of a sequence are right or wrong together, the interval is that of N numbers, not of N · T."""
    count = 100
    right = np.random.default_rng(0).random(count) < 0.7
    made = made_of("classes", "window", "widths=(3,)")
    arrays = {
        "sequence": np.zeros((count, T, 2)), "length": np.full(count, T), "label": np.zeros((count, T), np.int32)
    }  # fmt: skip
    raw = np.where(right[:, None, None], [2.0, 0, 0], [0, 2.0, 0]) * np.ones((1, T, 1))
    row = next(row for row in step_scores(made, raw, ArraySource(arrays)) if row["name"] == "accuracy")
    assert row["value"] == right.mean()
    half = 1.96 * right.std() / math.sqrt(count)
    low, high = row["interval"]
    # Noise of 500 resamples; by steps it would be 2.4 times narrower.
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)


def test_scores_of_numbers_of_steps_are_those_of_a_loop():
    made = made_of("numbers", "window", "widths=(3,)")
    source = made.data["train"]
    raw = np.random.default_rng(1).normal(size=(N, T, 2)).astype(np.float32)
    predicted = raw * np.array(made.outputs.scale) + np.array(made.outputs.centre)
    truth = source.arrays["target"][COUNTED].astype(float)
    errors = predicted[COUNTED] - truth
    expected = {
        "r2": np.mean(1 - (errors**2).sum(0) / ((truth - truth.mean(0)) ** 2).sum(0)),
        "rmse": np.sqrt((errors**2).mean(0)).mean(),
        "mae": np.abs(errors).mean(),
        "bias": errors.mean(),
    }
    assert values_of(step_scores(made, raw, source)) == pytest.approx(expected, rel=1e-4)  # float32 sums


def test_errors_of_each_step_by_hand():
    made = made_of("classes", "window", "widths=(3,)")
    source = made.data["train"]
    raw = np.random.default_rng(1).normal(size=(N, T, 3)).astype(np.float32)
    bits = errors_by_step(made, raw, source)
    assert (np.isfinite(bits) == COUNTED).all()
    p = np.exp(log_softmax(raw[2, 1].astype(float)))[source.arrays["label"][2, 1]]
    assert bits[2, 1] == pytest.approx(-math.log2(p), rel=1e-5)
    assert np.nanmean(bits) == pytest.approx(values_of(step_scores(made, raw, source))["bits"], rel=1e-5)
    numbers = made_of("numbers", "window", "widths=(3,)")
    source, raw = numbers.data["train"], raw[..., :2]
    apart = errors_by_step(numbers, raw, source)
    assert (np.isfinite(apart) == COUNTED).all()
    x, y = raw[3, 2] * numbers.outputs.scale + numbers.outputs.centre - source.arrays["target"][3, 2]
    assert apart[3, 2] == pytest.approx(math.hypot(x, y), rel=1e-5)


def test_sequences_are_known_up_to_a_time():
    times = np.array([[-3.0, 0, 2, 9], [1, 4, 0, 0], [5, 6, 7, 0]], np.float32)
    source = ArraySource({"sequence": np.ones((3, 4, 1)), "times": times, "length": np.array([4, 2, 3], np.int32)})
    # The second has zeros beyond its end, which are no times; what nobody saw yet keeps one step.
    for time, expected in ((-9, [1, 1, 1]), (0, [2, 1, 1]), (2.0, [3, 1, 1]), (4, [3, 2, 1]), (99, [4, 2, 3])):
        known = until(source, time)
        assert known.arrays["length"].tolist() == expected and known.arrays["length"].dtype == np.int32
        assert known.arrays["sequence"] is source.arrays["sequence"]
    assert until(source, None) is source


@pytest.mark.parametrize("truth", ["class", "number"])
def test_over_time_is_the_evaluation_of_truncated_sequences(truth, key):
    made = made_of(truth, "gru", "width=3", "readout=mean")
    variables, source = made.model.init(key, made.example), made.data["train"]
    rows, outputs = over_time(made, variables, source, (-2.0, 3.0, None))
    apply = jax.jit(made.model.apply)
    for time, some, raw in zip((-2.0, 3.0, np.inf), rows, outputs, strict=True):
        for i in range(N):
            seen = max(1, int((source.arrays["times"][i, : LENGTH[i]] <= time).sum()))
            alone = np.zeros((1, T, 2), np.float32)
            alone[0, :seen] = source.arrays["sequence"][i, :seen]
            expected = apply(variables, zoo.Sequence(alone, np.array([seen], np.int32)))[0]
            np.testing.assert_allclose(raw[i], expected, atol=1e-6)  # float32, other batch sizes
        assert some == whole_scores(made, raw, source)
    assert not np.allclose(outputs[0], outputs[-1])


@pytest.mark.parametrize(
    ("truth", "model", "options"),
    [
        ("class", "gru", ("width=3",)),
        ("classes", "gru", ("width=3",)),
        ("numbers", "window", ("window=3", "widths=(4,)")),
    ],
)
def test_gradient_over_lag_is_that_of_finite_differences(truth, model, options, x64, key):
    made = made_of(truth, model, *options)
    made = dataclasses.replace(made, model=made.model.clone(param_dtype=jnp.float64))
    arrays = made.data["train"].arrays
    source = ArraySource({**arrays, "sequence": arrays["sequence"].astype(np.float64)})
    variables = made.model.init(key, zoo.Sequence(source.arrays["sequence"][:1], LENGTH[:1]))
    size = gradient_over_lag(made, variables, source, count=5)
    assert size.shape == (5, T) and (np.isfinite(size) == (np.arange(T) < LENGTH[:5, None])).all()

    @jax.jit
    def last(values, length):
        out = made.model.apply(variables, zoo.Sequence(values[None], length[None]))[0]
        return jnp.sum(out[length - 1] if made.outputs.steps else out)

    step = 1e-6
    for i in (0, 3):
        values, length = source.arrays["sequence"][i], jnp.asarray(LENGTH[i])
        for lag in range(LENGTH[i]):
            place = LENGTH[i] - 1 - lag
            moves = np.zeros((2, T, 2))
            moves[range(2), place, range(2)] = step
            slopes = [(last(values + move, length) - last(values - move, length)) / (2 * step) for move in moves]
            # Central differences of step 1e-6 in float64.
            assert size[i, lag] == pytest.approx(np.linalg.norm(slopes), rel=1e-6, abs=1e-9)
    if model == "window":
        assert not size[0, 3:].any() and size[0, :3].all()


def test_gradient_of_a_video_is_over_its_pixels(key):
    made = made_of("number", "gru", "width=3")
    frames = np.random.default_rng(0).normal(size=(N, T, 4, 4, 1)).astype(np.float32)
    data = Dataset(
        "toy",
        {"train": ArraySource({"sequence": frames, "length": LENGTH, "target": made.data["train"].arrays["target"]})},
        None,
        "",
        targets={"y": "m"},
        channels={"brightness": "1"},
    )
    made = assemble(Experiment(model="conv_lstm", options=("widths=(2,)",)), data, splits=("train",))
    size = gradient_over_lag(made, made.model.init(key, made.example), made.data["train"], count=3)
    assert size.shape == (3, T) and (size[0] > 0).all() and np.isnan(size[1, 1:]).all()


def test_symbols_have_no_gradient(key):
    arrays = {"sequence": np.ones((N, T), np.int32), "length": LENGTH, "label": np.arange(N, dtype=np.int32) % 2}
    data = Dataset("toy", {"train": ArraySource(arrays)}, ("a", "b"), "", vocabulary=("x", "y"))
    made = assemble(Experiment(data="toy", model="gru", options=("width=3",)), data, splits=("train",))
    with pytest.raises(UserError, match="of symbols, which have no gradient"):
        gradient_over_lag(made, made.model.init(key, made.example), made.data["train"])


def test_shares_in_groups_by_hand():
    quantity = np.array([*range(40), 0.5, 20.5])
    hits = quantity < 10
    at, share, low, high = shares_by(hits, quantity, groups=5)
    # Two groups of 21: 0 … 19 with 0.5, and 20 … 39 with 20.5.
    np.testing.assert_array_equal(at, [9, 29])
    np.testing.assert_allclose(share, [11 / 21, 0])
    z, n, p = 1.959964, 21, 11 / 21
    centre, half = (
        (p + z**2 / (2 * n)) / (1 + z**2 / n),
        z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n),
    )
    np.testing.assert_allclose([low[0], high[0]], [centre - half, centre + half], rtol=1e-5)
    assert low[1] == pytest.approx(0, abs=1e-12) and high[1] == pytest.approx(z**2 / n / (1 + z**2 / n), rel=1e-5)
    assert len(shares_by(hits[:5], quantity[:5])[0]) == 1 and len(shares_by(np.ones(500), np.arange(500))[0]) == 10
