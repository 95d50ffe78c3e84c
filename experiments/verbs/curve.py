"""`zoo curve`: a score against the number of training images, for several experiments on the same data."""

import csv
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from zoo.errors import UserError
from zoo_datasets.loading.catalogue import load
from zoo_experiments.verbs import score_figures
from zoo_experiments.verbs.evaluating import value_of
from zoo_experiments.verbs.experiment import Experiment
from zoo_experiments.verbs.outputs import outputs_of
from zoo_experiments.verbs.runs import Run, warn
from zoo_experiments.verbs.training import train_experiment


def data_curve(
    experiments: Mapping[str, Experiment],
    *,
    sizes: Sequence[int],
    seeds: Sequence[int],
    runs: Path,
    out: Path,
    train: Callable[..., Run] = train_experiment,
) -> Path:
    """Train every experiment on subsets of its training data, as many steps each as on all of it.

    Subsets are drawn by the seed, those of one seed nested (`Experiment.train_examples`). Trainings that are there
    already are not repeated. Writes `curve.csv` (experiment, size, seed, score) and `curve.png`.

    Args:
        experiments: name → settings; all on the same data.
        sizes: numbers of training images.
        seeds: one training for each, per experiment and size.
        runs: folder of all runs.
        out: folder of the figure and the table.
        train: how to train, for tests.

    Returns:
        The figure's path.

    Raises:
        UserError: experiments on different data, or sizes that the data does not have.
    """
    data = {experiment.data_name for experiment in experiments.values()}
    if len(data) > 1:
        raise UserError(f"A curve compares experiments on the same data; these use {', '.join(sorted(data))}.")
    dataset = load(next(iter(data)))
    total = len(dataset.splits["train"])
    if min(sizes) < 1 or max(sizes) > total:
        raise UserError(f"sizes must lie in 1 … {total}, the training images of {dataset.name}; got {tuple(sizes)}.")
    score = outputs_of(dataset).score
    rows = []
    for name, experiment in experiments.items():
        for size in sizes:
            for seed in seeds:
                one = dataclasses.replace(
                    experiment,
                    train_examples=0 if size == total else size,
                    epochs=-(-experiment.epochs * total // size),
                    evaluations=1,
                    seed=seed,
                )
                folder = runs / name / f"images{size}_seed{seed}"
                run = train(name, one, folder=folder, progress=False)
                value = value_of(run.read("results.json"), score, "validation")["value"]
                warn(f"{name}, {size} images, seed {seed}: validation {score} {value:.3f}")
                rows.append((name, size, seed, value))
    out.mkdir(parents=True, exist_ok=True)
    with (out / "curve.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("experiment", "size", "seed", score), *rows])
    scores = {
        f"{name} ({experiment.model})": {
            size: [value for n, s, _, value in rows if (n, s) == (name, size)] for size in sizes
        }
        for name, experiment in experiments.items()
    }
    chance = {} if score == "r2" else {"chance": 1 / len(dataset.class_names or ())}
    figure = score_figures.against_size(
        scores, metric=f"validation {'R²' if score == 'r2' else score}", percent=score != "r2", levels=chance
    )
    figure.savefig(out / "curve.png", dpi=130)
    return out / "curve.png"
