"""Scores of networks on sequences: of every step, with intervals by resampling sequences; and against time."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import zoo
from zoo import train
from zoo.errors import UserError
from zoo.layers import valid_steps
from zoo_datasets.loading.records import ArraySource
from zoo_experiments.verbs.experiment import Setup
from zoo_experiments.verbs.pixels import Meter, by_image, rows_of
from zoo_experiments.verbs.statistics import regression_summary, summary

# What the reports of steps are scored by.
KEPT = ("accuracy", "nll", "bits", "ece", "r2", "rmse", "mae", "bias")


def step_scores(made: Setup, raw: np.ndarray, source: ArraySource) -> list[dict[str, Any]]:
    """Metrics over all steps that count, with intervals by resampling sequences: steps of one are not independent.

    Classes also have `bits`, the negative log-likelihood of a step in bits.

    Args:
        made: functions of the run.
        raw: outputs of the network (N, T, K).
        source: the records.
    """
    sums = by_image(Meter(made.task.metrics, made.task.finalise), raw, _truth(made, source))
    report = made.task.finalise if made.outputs.targets else of_classes
    rows = rows_of(sums, lambda merged: {name: value for name, value in report(merged).items() if name in KEPT})
    return [{**row, "method": row["method"].replace("images", "sequences")} for row in rows]


def errors_by_step(made: Setup, raw: np.ndarray, source: ArraySource) -> np.ndarray:
    """How wrong each step is, (N, T), NaN where it does not count: −log₂ of the true class's probability, or the
    distance from the true numbers, in their unit.
    """
    counted = np.asarray(train.counted_steps(source.arrays, raw.shape[1])) > 0
    if made.outputs.targets:
        errors = np.asarray(made.task.predict(raw)) - source.arrays["target"]
        wrong = np.sqrt((errors**2).sum(-1))
    else:
        log_p = np.asarray(jax.nn.log_softmax(raw, axis=-1))
        truth = np.where(counted, source.arrays["label"], 0)
        wrong = -np.take_along_axis(log_p, truth[..., None], -1)[..., 0] / math.log(2)
    return np.where(counted, wrong, np.nan)


def until(source: ArraySource, time: float | None) -> ArraySource:
    """The records as they were known at a time: lengths that end with the last step at or before it, one at least."""
    if time is None:
        return source
    steps = np.asarray(valid_steps(source.arrays["length"], source.arrays["times"].shape[1]))
    seen = (steps & (source.arrays["times"] <= time)).sum(1)
    return ArraySource({**source.arrays, "length": np.maximum(seen, 1).astype(source.arrays["length"].dtype)})


def over_time(
    made: Setup, variables: Mapping[str, Any], source: ArraySource, times: Sequence[float | None]
) -> tuple[list[list[dict[str, Any]]], list[np.ndarray]]:
    """Metrics and raw outputs of a network that has seen every sequence up to each of some times; None is its end.

    Args:
        made: functions of the run.
        variables: weights.
        source: records with a field `times` (N, T), ascending.
        times: in the unit of the records.
    """
    evaluation, rows, outputs = made.evaluation(), [], []
    for time in times:
        known = until(source, time)
        raw, _ = evaluation(variables, known)
        outputs.append(raw)
        rows.append(whole_scores(made, raw, known))
    return rows, outputs


def whole_scores(made: Setup, raw: np.ndarray, source: ArraySource) -> list[dict[str, Any]]:
    """Metrics of outputs (N, K) about whole sequences or images."""
    truth = source.arrays[made.outputs.truth]
    if made.outputs.targets:
        return regression_summary(np.asarray(made.task.predict(raw)), truth, made.outputs.names)
    return summary(raw, truth, made.class_names)


def dropout_probabilities(
    made: Setup, variables: Mapping[str, Any], source: ArraySource, *, samples: int = 30, seed: int = 0
) -> np.ndarray:
    """Probabilities (S, N, K) of a classifier of sequences whose units are dropped as in training.

    Gal & Ghahramani 15, https://arxiv.org/abs/1506.02142: their spread is what the training data left open.

    Args:
        made: functions of the run.
        variables: weights.
        source: the records.
        samples: S.
        seed: of the units that are dropped.

    Raises:
        UserError: the network drops nothing, or normalises by its batch, which training mode would change.
    """
    if "batch_stats" in variables or not getattr(made.model, "dropout", 0):
        raise UserError(
            f"{made.experiment.model} with these options has no dropout to sample from: a model without batch "
            "normalisation and with dropout above 0 has, such as lstm with --options dropout=0.1."
        )

    def one(key: jax.Array, inputs: Any) -> jax.Array:
        return made.task.predict(made.model.apply(variables, inputs, train=True, rngs={"dropout": key}))

    many = jax.jit(lambda keys, inputs: jax.lax.map(lambda key: one(key, inputs), keys))
    keys, inputs = jax.random.split(jax.random.key(seed), samples), made.inputs(source.arrays)
    return np.asarray(many(keys, jax.tree.map(jnp.asarray, inputs)))


def entropy(p: np.ndarray) -> np.ndarray:
    """Entropy in bits of probabilities (…, K)."""
    return -np.sum(p * np.log2(np.maximum(p, 1e-12)), axis=-1)


def gradient_over_lag(made: Setup, variables: Mapping[str, Any], source: ArraySource, *, count: int = 32) -> np.ndarray:
    """Size of the gradient of the outputs with respect to the inputs so many steps before the last, (N, T).

    The Euclidean norm over channels of the gradient of the sum of all outputs at the last step; NaN before the start.

    Args:
        made: functions of the run.
        variables: weights.
        source: the records; the first `count` are taken.

    Raises:
        UserError: sequences of symbols.
    """
    if len(made.shape) == 1:
        raise UserError(f"The sequences of {made.experiment.data} are of symbols, which have no gradient.")
    arrays = {name: jnp.asarray(values[:count]) for name, values in source.arrays.items() if name in _INPUTS}
    lengths, values = arrays["length"], arrays["sequence"]

    def last(values: jax.Array) -> jax.Array:
        outputs = made.model.apply(variables, zoo.Sequence(values, lengths))
        if made.outputs.steps:
            index = (lengths - 1)[:, None, None]
            outputs = jnp.take_along_axis(outputs, index, axis=1)
        return jnp.sum(outputs)

    gradient = np.asarray(jax.jit(jax.grad(last))(values)).reshape(*values.shape[:2], -1)
    size = np.linalg.norm(gradient, axis=-1)
    steps = size.shape[1]
    place = np.asarray(lengths)[:, None] - 1 - np.arange(steps)[None]
    return np.where(place >= 0, np.take_along_axis(size, np.maximum(place, 0), 1), np.nan)


_INPUTS = ("sequence", "length")


def _truth(made: Setup, source: ArraySource) -> dict[str, np.ndarray]:
    names = (made.outputs.truth, "length", "valid")
    return {name: source.arrays[name] for name in names if name in source.arrays}


def of_classes(sums: Mapping[str, Any]) -> dict[str, float]:
    """The task's own report has an interval for each class: too slow for hundreds of resamples of a vocabulary."""
    confusion = np.asarray(sums["confusion"])
    count = max(confusion.sum(), 1)
    nll = float(sums["nll"] / count)
    return {
        "accuracy": float(np.trace(confusion) / count),
        "nll": nll,
        "bits": nll / math.log(2),
        "ece": train.expected_calibration_error(sums["bins"]),
    }
