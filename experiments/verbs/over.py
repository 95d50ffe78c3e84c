"""`zoo over`: several networks on sequences against time, steps seen, a property, or their gradient over the lag."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from zoo.errors import UserError
from zoo_experiments.verbs import figures, sequence_figures
from zoo_experiments.verbs.experiment import Experiment
from zoo_experiments.verbs.explaining import described
from zoo_experiments.verbs.runs import Run
from zoo_experiments.verbs.sequence_reporting import by_step, grid_of_times, lag_line, score_line
from zoo_experiments.verbs.sequence_scores import (
    dropout_probabilities,
    entropy,
    errors_by_step,
    gradient_over_lag,
    over_time,
)
from zoo_experiments.verbs.statistics import shares_by, shares_kept

# x, value, lower and upper end of its interval.
Line = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def compare_over(quantity: str, runs: Sequence[Run], *, split: str, out: Path) -> Path:
    """Draw one line for each run; writes `over_QUANTITY.png` and `.csv` (run, x, value, low, high).

    Args:
        quantity: `time`, for networks about whole sequences with times: the score from the steps until then; `step`,
            for networks about every step: the error after so many; `gradient`: its size against the lag; for classes
            of whole sequences `certainty`: the accuracy among the most certain, by their probabilities and by the mean
            over networks with units dropped at random; or a field of the records: the accuracy in groups of equal size.
        runs: trained runs.
        split: of their data.
        out: folder of the figure and the table.

    Returns:
        The figure's path.

    Raises:
        UserError: runs that are not on sequences, or without what the quantity needs.
    """
    lines, label = {}, ""
    for run in runs:
        found, label = _lines(quantity, run, split)
        for told, line in found.items():
            if not len(line[0]):
                raise UserError(f"{run.name} has nothing against {quantity}: too few {split} sequences, or all zero.")
            lines[_name(run, runs) + told] = line
    out.mkdir(parents=True, exist_ok=True)
    with (out / f"over_{quantity}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["run", quantity, "value", "low", "high"])
        for name, line in lines.items():
            writer.writerows([name, *(f"{number:.6g}" for number in point)] for point in zip(*line, strict=True))
    told = {told_times(run.experiment) for run in runs}
    times = told.pop() if len(told) == 1 else "time"
    figure = drawn(quantity, lines, label, chance=_chance(quantity, runs), times=times)
    figure.savefig(out / f"over_{quantity}.png", dpi=130)
    return out / f"over_{quantity}.png"


def drawn(
    quantity: str, lines: Mapping[str, Line], label: str, *, chance: float | None, times: str = "time"
) -> figures.Figure:
    """The figure of some lines; `times` is what the times are, with their unit."""
    x_label = {
        "time": times,
        "step": "steps seen",
        "gradient": "steps before the last",
        "certainty": "share kept, the most certain first",
    }.get(quantity, quantity)
    return sequence_figures.against(
        lines,
        x_label=x_label,
        y_label=label,
        chance=chance,
        log_y=quantity in ("gradient", "step"),
    )


def _lines(quantity: str, run: Run, split: str) -> tuple[dict[str, Line], str]:
    """Ending of the name → line, and the label of the values."""
    if run.field != "sequence":
        raise UserError(f"{run.folder} is about images; `zoo over` is for sequences.")
    made = run.setup(splits=(split,))
    variables, source = run.weights(made).state.averaged, made.data[split]
    if quantity == "gradient":
        return {"": lag_line(gradient_over_lag(made, variables, source))}, "gradient of the outputs"
    if quantity == "step":
        if not made.outputs.steps:
            raise UserError(f"{run.name} says something of whole sequences, not of every step.")
        raw, _ = made.evaluation()(variables, source)
        line = by_step(errors_by_step(made, raw, source))
        units = set(made.outputs.targets.values())
        label = f"error ({units.pop()})" if len(units) == 1 else "error"
        return {"": line}, label if made.outputs.targets else "surprise (bits)"
    if made.outputs.steps:
        raise UserError(f"{run.name} says something of every step: `zoo over step` draws it.")
    if quantity == "time":
        if "times" not in source.arrays:
            raise UserError(f"The sequences of {run.experiment.data} have no times.")
        times = grid_of_times(source)
        rows, _ = over_time(made, variables, source, times)
        return {"": score_line(times, rows, made.outputs.score)}, made.outputs.score
    if made.outputs.targets or (quantity != "certainty" and np.ndim(source.arrays.get(quantity, 0)) != 1):
        raise UserError(
            f"{quantity!r} is neither time, step, gradient, certainty nor a number that the classified records of "
            f"{run.name} have."
        )
    raw, _ = made.evaluation()(variables, source)
    labels = source.arrays["label"]
    if quantity != "certainty":
        return {"": shares_by(raw.argmax(1) == labels, source.arrays[quantity])}, "accuracy"
    plain = np.asarray(made.task.predict(raw))
    dropped = dropout_probabilities(made, variables, source).mean(0)
    by = {", as trained": plain, ", units dropped": dropped}
    return {told: shares_kept(p.argmax(1) == labels, entropy(p)) for told, p in by.items()}, "accuracy"


def told_times(experiment: Experiment) -> str:
    """What the data set says of its times, as in "days since the trigger"; "time" where it says nothing."""
    about = described(experiment)
    found = re.search(r"\btimes: ([^,;.(]+)", about.units) if about is not None else None
    return found[1].strip() if found else "time"


def _chance(quantity: str, runs: Sequence[Run]) -> float | None:
    if quantity in ("gradient", "step", "certainty") or not runs[0].class_names:
        return None
    return 1 / len(runs[0].class_names)


def _name(run: Run, runs: Sequence[Run]) -> str:
    alike = sum(other.name == run.name for other in runs)
    return run.name if alike == 1 else f"{run.name}/{run.folder.name}"
