"""The figures of a report about sequences."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from zoo.layers import valid_steps
from zoo_datasets.loading.records import ArraySource
from zoo_experiments.verbs import figures, sequence_figures
from zoo_experiments.verbs.experiment import Setup
from zoo_experiments.verbs.sequence_scores import errors_by_step, gradient_over_lag, over_time

SHOWN = 8
TIMES = 12


def drawn(
    made: Setup, variables: Mapping[str, Any], source: ArraySource, raw: np.ndarray, *, unit: str
) -> dict[str, figures.Figure]:
    """Name → figure.

    Args:
        made: functions of the run.
        variables: weights.
        source: the records.
        raw: outputs of the network.
        unit: of the times.
    """
    if made.outputs.steps:
        found = _of_steps(made, source, raw)
    else:
        found = _over_time(made, variables, source, unit) if "times" in source.arrays else {}
    return {**found, **_gradient(made, variables, source)}


def gallery(
    made: Setup,
    source: ArraySource,
    chosen: np.ndarray,
    titles: list[str],
    *,
    colours: list[str] | None = None,
    unit: str = "",
    credit: str = "",
) -> figures.Figure:
    """Some sequences with captions: texts, frames of videos, or series."""
    chosen, titles = chosen[:SHOWN], titles[:SHOWN]
    colours = None if colours is None else colours[:SHOWN]
    if len(made.shape) == 1:
        lines = [text_of(made, source, i) for i in chosen]
        return sequence_figures.texts(lines, [title.replace("\n", ", ") for title in titles], colours=colours)
    if len(made.shape) == 4:
        ends = source.arrays["sequence"][chosen, source.arrays["length"][chosen] - 1]
        return figures.gallery(ends, titles, colours=colours, credit=credit)
    shown = [series_of(made, source, i) for i in chosen]
    label = "step" if shown[0][1] is None else f"time ({unit})" if unit else "time"
    return sequence_figures.series_gallery(shown, titles, made.channels, colours=colours, x_label=label, credit=credit)


def series_of(made: Setup, source: ArraySource, record: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Values (T, C) in the units of the data, and times (T,) where there are any, of the valid steps of a record."""
    length, how = int(source.arrays["length"][record]), made.experiment.sequences
    values = source.arrays["sequence"][record, :length]
    if how.softening:
        # Fields that were added stand behind the channels, as they are.
        own = values.shape[1] - len(how.add)
        values = np.concatenate([np.sinh(values[:, :own]) * how.softening, values[:, own:]], axis=1)
    times = source.arrays["times"][record, :length] if "times" in source.arrays else None
    return values, times


def text_of(made: Setup, source: ArraySource, record: int) -> str:
    """A sequence of symbols as text; line ends are drawn."""
    symbols = source.arrays["sequence"][record, : int(source.arrays["length"][record])]
    return "".join(made.vocabulary[symbol] for symbol in symbols).replace("\n", "↵")


def _of_steps(made: Setup, source: ArraySource, raw: np.ndarray) -> dict[str, figures.Figure]:
    wrong = errors_by_step(made, raw, source)
    units = set(made.outputs.targets.values())
    unit = units.pop() if len(units) == 1 else ""
    label = f"error ({unit})" if unit else "error"
    label = label if made.outputs.targets else "surprise (bits)"
    found = {"over_steps": sequence_figures.against({"network": by_step(wrong)}, x_label="steps seen", y_label=label)}
    order = np.argsort(np.nanmean(wrong, axis=1), kind="stable")
    typical = order[[len(order) // 10, len(order) // 2, (9 * len(order)) // 10]]
    if made.outputs.targets and len(made.outputs.targets) == 2:
        found["examples"] = _paths(made, source, raw, typical, wrong, unit)
        found["worst"] = _paths(made, source, raw, order[::-1][:3], wrong, unit)
    elif len(made.shape) == 1:
        lines = [text_of(made, source, i) for i in typical]
        bits = [_before(wrong[i])[: len(line)] for line, i in zip(lines, typical, strict=True)]
        found["examples"] = sequence_figures.surprise(lines, bits)
    return found


def by_step(wrong: np.ndarray) -> tuple[np.ndarray, ...]:
    """Steps seen, mean error there, and its 95 % interval by the normal distribution, from errors (N, T)."""
    there = np.isfinite(wrong)
    count = there.sum(0)
    kept = count > 1
    values = np.where(there, wrong, 0)[:, kept]
    count = count[kept]
    mean = values.sum(0) / count
    spread = np.sqrt((np.where(there[:, kept], (values - mean) ** 2, 0)).sum(0) / (count - 1) / count)
    steps = np.arange(1, wrong.shape[1] + 1)[kept]
    return steps, mean, mean - 1.96 * spread, mean + 1.96 * spread


def _before(bits: np.ndarray) -> np.ndarray:
    """The bits of each character of the input: the output at a step is about the next one."""
    return np.concatenate([[np.nan], bits[:-1]])


def _paths(
    made: Setup, source: ArraySource, raw: np.ndarray, chosen: np.ndarray, wrong: np.ndarray, unit: str
) -> figures.Figure:
    lengths = source.arrays["length"]
    predicted = np.asarray(made.task.predict(raw[chosen]))
    return sequence_figures.paths(
        [source.arrays["target"][i, : lengths[i]] for i in chosen],
        [predicted[row, : lengths[i]] for row, i in enumerate(chosen)],
        [f"record {i}\nmean error {np.nanmean(wrong[i]):.3g} {unit}".rstrip() for i in chosen],
        unit=unit,
    )


def _over_time(made: Setup, variables: Mapping[str, Any], source: ArraySource, unit: str) -> dict[str, figures.Figure]:
    """The score, and probabilities of one typical record of each class, against the time until which they were seen."""
    times = grid_of_times(source)
    rows, outputs = over_time(made, variables, source, times)
    name = made.outputs.score
    x_label = f"time ({unit})" if unit else "time"
    line = score_line(times, rows, name)
    found = {"over_time": sequence_figures.against({"network": line}, x_label=x_label, y_label=name)}
    if made.outputs.targets:
        return found
    labels = source.arrays["label"]
    p = np.stack([np.asarray(made.task.predict(raw)) for raw in outputs], axis=1)
    final = p[np.arange(len(labels)), -1, labels]
    chosen = []
    for k in range(len(made.class_names)):
        members = np.flatnonzero(labels == k)
        if len(members):
            chosen.append(members[np.argsort(final[members], kind="stable")[len(members) // 2]])
    found["probabilities"] = sequence_figures.probability_over_time(
        [series_of(made, source, i) for i in chosen],
        [(times, p[i]) for i in chosen],
        [f"record {i}: {made.class_names[labels[i]]}" for i in chosen],
        made.channels,
        made.class_names,
        x_label=x_label,
    )
    return found


def grid_of_times(source: ArraySource, count: int = TIMES) -> np.ndarray:
    """Times between the 2nd and 98th percentile of all valid steps, evenly spaced, rounded to whole units if long."""
    steps = np.asarray(valid_steps(source.arrays["length"], source.arrays["times"].shape[1]))
    low, high = np.percentile(source.arrays["times"][steps], [2, 98])
    times = np.linspace(low, high, count)
    return np.unique(np.rint(times)) if high - low > 2 * count else times


def score_line(times: np.ndarray, rows: list[list[dict[str, Any]]], name: str) -> tuple[np.ndarray, ...]:
    """Times, values and interval of one metric."""
    picked = [next(row for row in some if row["name"] == name) for some in rows]
    low, high = np.array([row["interval"] for row in picked]).T
    return np.asarray(times, float), np.array([row["value"] for row in picked]), low, high


def _gradient(made: Setup, variables: Mapping[str, Any], source: ArraySource) -> dict[str, figures.Figure]:
    if len(made.shape) == 1:
        return {}
    line = lag_line(gradient_over_lag(made, variables, source))
    return {
        "gradient": sequence_figures.against(
            {"network": line}, x_label="steps before the last", y_label="gradient of the outputs", log_y=True
        )
    }


def lag_line(size: np.ndarray) -> tuple[np.ndarray, ...]:
    """Lag, median over sequences and central 68 % of gradients (N, T); lags that fewer than four sequences have, and
    those with no gradient at all, are left out.
    """
    lags = np.arange(size.shape[1])
    enough = np.isfinite(size).sum(0) >= min(4, len(size))
    low, median, high = np.nanpercentile(size[:, enough], [16, 50, 84], axis=0)
    there = low > 0
    return lags[enough][there], median[there], low[there], high[there]
