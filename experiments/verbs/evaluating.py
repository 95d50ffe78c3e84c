"""`zoo evaluate`: the metrics of a run on one split, with intervals, and the predictions behind them."""

import csv
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zoo import train
from zoo.errors import UserError
from zoo_datasets.loading.records import ArraySource
from zoo_experiments.verbs.experiment import Evaluation, Setup, setup
from zoo_experiments.verbs.graph_scores import row_scores
from zoo_experiments.verbs.outputs import Outputs
from zoo_experiments.verbs.pixel_scores import pixel_scores
from zoo_experiments.verbs.runs import Run, machine, versions
from zoo_experiments.verbs.sequence_scores import step_scores, whole_scores


def evaluate_run(
    run: Run,
    made: Setup,
    state: train.State,
    *,
    split: str,
    evaluation: Evaluation | None = None,
    command: str | None = None,
) -> list[dict[str, Any]]:
    """Evaluate the weights of a state on a split; updates `results.json`, writes the predictions beside it.

    They go to `predictions_SPLIT.csv`, or where pixels, steps, nodes or the like are predicted to
    `predictions_SPLIT.npz`.

    Args:
        run: the run.
        made: its functions, with the split in memory.
        state: its restored or final state; moving averages are used where there are any.
        split: `train`, `validation` or `test`. Looks at the test split are counted in the results.
        evaluation: an evaluation that is already compiled.
        command: the command line that trained the run, kept when the results do not have one yet.

    Returns:
        The metrics of the split, as written.
    """
    begun = time.perf_counter()
    source = made.data[split]
    raw, _ = (evaluation or made.evaluation())(state.averaged, source)
    seed, step = made.experiment.seed, int(state.step)
    metrics = [{**row, "split": split, "seed": seed} for row in scores(made, raw, source)]
    results = run.read("results.json")
    looks = dict(results.get("looks", {}))
    looks[split] = looks.get(split, 0) + 1
    rows = train.read_log(run.file("metrics.csv"))
    results = {
        **results,
        "experiment": run.name,
        "seed": seed,
        "command": results.get("command", command or f"zoo train {run.name}"),
        "select": made.experiment.select,
        "step": step,
        "steps": made.steps if "train" in made.data else results.get("steps", step),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "training_seconds": round(max((row["seconds"] for row in rows if row["step"] <= step), default=0.0), 1),
        "evaluation_seconds": round(time.perf_counter() - begun, 1),
        "versions": versions(),
        "machine": machine(),
        "looks": looks,
        "metrics": [row for row in results.get("metrics", []) if row["split"] != split] + metrics,
    }
    run.write("results.json", results)
    for part, outputs in made.parts(raw):
        predictions = np.asarray(part.task.predict(outputs))
        if part.outputs.dense or part.outputs.rows:
            np.savez_compressed(run.file(f"predictions_{split}.npz"), prediction=predictions)
        else:
            write_predictions(
                run.file(f"predictions_{split}.csv"),
                predictions,
                part.outputs,
                truth=source.arrays[part.outputs.truth],
                names=made.record_names.get(split),
            )
    return metrics


def scores(made: Setup, raw: np.ndarray, source: ArraySource) -> list[dict[str, Any]]:
    """Metrics with intervals of a network's raw outputs (N, …) against the truth of the records."""
    return [row for part, outputs in made.parts(raw) for row in _scores(part, outputs, source)]


def _scores(made: Setup, raw: np.ndarray, source: ArraySource) -> list[dict[str, Any]]:
    if made.outputs.dense:
        return pixel_scores(made, raw, source)
    if made.outputs.steps:
        return step_scores(made, raw, source)
    if made.outputs.rows:
        return row_scores(made, raw, source)
    return whole_scores(made, raw, source)


def evaluate_other(run: Run, *, data: str, split: str) -> list[dict[str, Any]]:
    """Metrics of a run on other data with the same classes or targets; nothing is written.

    Raises:
        UserError: other classes or targets, or images that become another shape.
    """
    made = setup(dataclasses.replace(run.experiment, data=data), splits=(split,), outputs=run.outputs)
    if made.shape != run.shape:
        raise UserError(
            f"{data} has {made.field}s {made.shape}, the network of {run.folder} was trained on {run.shape}."
        )
    run.require_vocabulary(data, made.vocabulary)
    source = made.data[split]
    raw, _ = made.evaluation()(run.weights(made).state.averaged, source)
    rows = scores(made, raw, source)
    return [{**row, "split": f"{data} {split}"} for row in rows]


def write_predictions(
    path: Path,
    predictions: np.ndarray,
    outputs: Outputs,
    *,
    truth: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """One row per record: its number and name; then true class, predicted class and probability of every class, or for
    every target the truth and the prediction.

    Args:
        path: the CSV file.
        predictions: (N, K) probabilities, or (N, D) numbers in the units of the targets.
        outputs: what they mean.
        truth: (N,) labels or (N, D) targets.
        names: N names of the records.
    """
    known = truth is not None
    if outputs.targets:
        head = [column for t in outputs.names for column in ([f"true {t}"] if known else []) + [f"predicted {t}"]]
    else:
        head = [*(["true"] if known else []), "predicted", *(f"p {name}" for name in outputs.names)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["record", *(["name"] if names else []), *head])
        for i, row in enumerate(np.asarray(predictions, np.float64)):
            if outputs.targets:
                both = zip(truth[i] if known else row, row, strict=True)
                cells = [f"{value:.6g}" for t, p in both for value in ([t] if known else []) + [p]]
            else:
                first = [outputs.names[truth[i]]] if known else []
                cells = [*first, outputs.names[row.argmax()], *(f"{p:.6f}" for p in row)]
            writer.writerow([i, *([names[i]] if names else []), *cells])


def value_of(results: Mapping[str, Any], name: str, split: str) -> dict[str, Any] | None:
    """The metric `name` on `split` in a `results.json`."""
    return next((row for row in results.get("metrics", []) if row["name"] == name and row["split"] == split), None)


def as_text(row: Mapping[str, Any]) -> str:
    """`0.845 (95 % 0.788–0.889, n = 200)`."""
    low, high = row["interval"]
    return f"{row['value']:.3f} (95 % {low:.3f}–{high:.3f}, n = {row['count']})"
