"""Scores of what a network says of nodes, edges, pairs and points.

Rows of one graph or set are not independent, so that intervals come from resampling the graphs; where there is but one
graph they come from resampling its rows, and say how well the number is known on this graph, not on another.
"""

from typing import Any

import numpy as np

from zoo_datasets.loading.records import ArraySource
from zoo_experiments.verbs.experiment import Setup
from zoo_experiments.verbs.pixels import Meter, by_image, rows_of
from zoo_experiments.verbs.sequence_scores import KEPT, of_classes
from zoo_experiments.verbs.statistics import regression_summary, summary

# Where standard deviations are predicted: shares within 1 and 1.96 of them, and mean of the squared errors in them.
CALIBRATED = ("coverage_68", "coverage_95", "z_squared")


def row_scores(made: Setup, raw: np.ndarray, source: ArraySource) -> list[dict[str, Any]]:
    """Metrics with intervals of raw outputs (N, R, K) over all rows that count.

    Args:
        made: functions of the run.
        raw: outputs of the network.
        source: the records.
    """
    if len(source) == 1 and not made.outputs.spread:
        rows, truth = counted(made, raw, source)
        if made.outputs.targets:
            return regression_summary(np.asarray(made.task.predict(rows)), truth, made.outputs.names)
        return summary(rows, truth, made.class_names)
    batch = {name: source.arrays[name] for name in (made.outputs.truth, "valid")}
    report = made.task.finalise if made.outputs.targets else of_classes
    kept = (*KEPT, *CALIBRATED)
    meter = Meter(made.task.metrics, made.task.finalise)
    sums = by_image(meter, raw, batch)
    found = rows_of(sums, lambda merged: {name: value for name, value in report(merged).items() if name in kept})
    what = "sets" if made.field == "points" else "graphs"
    return [{**row, "method": row["method"].replace("images", what)} for row in found]


def counted(made: Setup, raw: np.ndarray, source: ArraySource) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (M, K) and truth (M, …) of all rows that count."""
    there = source.arrays["valid"] > 0
    return raw[there], source.arrays[made.outputs.truth][there]


def standardised_errors(made: Setup, raw: np.ndarray, source: ArraySource) -> tuple[np.ndarray, np.ndarray]:
    """Errors (M, D) of all rows that count, and the predicted standard deviations (M, D), in the targets' units.

    Args:
        made: functions of a run whose network predicts them.
        raw: outputs (N, R, 2 D).
        source: the records.
    """
    rows, truth = counted(made, raw, source)
    size = len(made.outputs.targets)
    said = np.asarray(made.task.predict(rows[None]))[0]
    return said[:, :size] - truth, said[:, size:]
