"""`zoo evaluate`: the metrics of a run on one split, with intervals, and the predictions behind them."""

import csv
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.special import softmax

from zoo import train
from zoo.errors import UserError
from zoo_experiments.verbs.experiment import Evaluation, Setup, setup
from zoo_experiments.verbs.runs import Run, machine, versions
from zoo_experiments.verbs.statistics import summary


def evaluate_run(
    run: Run,
    made: Setup,
    state: train.State,
    *,
    split: str,
    evaluation: Evaluation | None = None,
    command: str | None = None,
) -> list[dict[str, Any]]:
    """Evaluate the weights of a state on a split; updates `results.json`, writes `predictions_SPLIT.csv`.

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
    logits, _ = (evaluation or made.evaluation())(state.averaged, source)
    labels = source.arrays["label"]
    seed, step = made.experiment.seed, int(state.step)
    metrics = [{**row, "split": split, "seed": seed} for row in summary(logits, labels, made.class_names)]
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
    write_predictions(
        run.file(f"predictions_{split}.csv"),
        logits,
        made.class_names,
        labels=labels,
        names=made.record_names.get(split),
    )
    return metrics


def evaluate_other(run: Run, *, data: str, split: str) -> list[dict[str, Any]]:
    """Metrics of a run on other labelled data with the same classes; nothing is written.

    Raises:
        UserError: other classes, or images that become another shape.
    """
    made = setup(dataclasses.replace(run.experiment, data=data), splits=(split,))
    for what, theirs, ours in (("classes", made.class_names, run.class_names), ("images", made.shape, run.shape)):
        if theirs != ours:
            raise UserError(f"{data} has {what} {theirs}, the network of {run.folder} was trained on {ours}.")
    logits, _ = made.evaluation()(run.weights(made).state.averaged, made.data[split])
    rows = summary(logits, made.data[split].arrays["label"], made.class_names)
    return [{**row, "split": f"{data} {split}"} for row in rows]


def write_predictions(
    path: Path,
    logits: np.ndarray,
    class_names: Sequence[str],
    *,
    labels: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """One row per record: number, name, true class, predicted class, probability of every class."""
    probabilities = softmax(np.asarray(logits, np.float64), axis=1)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        head = ["record", *(["name"] if names else []), *(["true"] if labels is not None else []), "predicted"]
        writer.writerow([*head, *(f"p {name}" for name in class_names)])
        for i, row in enumerate(probabilities):
            name = [names[i]] if names else []
            truth = [class_names[labels[i]]] if labels is not None else []
            writer.writerow([i, *name, *truth, class_names[row.argmax()], *(f"{p:.6f}" for p in row)])


def value_of(results: Mapping[str, Any], name: str, split: str) -> dict[str, Any] | None:
    """The metric `name` on `split` in a `results.json`."""
    return next((row for row in results.get("metrics", []) if row["name"] == name and row["split"] == split), None)


def as_text(row: Mapping[str, Any]) -> str:
    """`0.845 (95 % 0.788–0.889, n = 200)`."""
    low, high = row["interval"]
    return f"{row['value']:.3f} (95 % {low:.3f}–{high:.3f}, n = {row['count']})"
