"""`zoo baseline`: linear models and trees on hand-made features, the score that a network must beat (B8)."""

from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import UserError
from zoo_experiments.verbs.baselines import classify, regress
from zoo_experiments.verbs.evaluating import regression_summary, summary
from zoo_experiments.verbs.experiment import Experiment, Setup, setup
from zoo_experiments.verbs.features import extract
from zoo_experiments.verbs.runs import write_json


def fit_experiment(
    name: str, experiment: Experiment, *, folder: Path, splits: tuple[str, ...] = ("validation",)
) -> list[dict[str, Any]]:
    """Fit the baselines of an experiment on its training data; writes `baselines.json` into `folder`.

    Args:
        name: name of the experiment.
        experiment: its settings; `baseline` says what the models are given.
        folder: where to write.
        splits: splits to score.

    Returns:
        One entry per model: its `name` and `metrics`, rows as in a run's `results.json`.

    Raises:
        UserError: the data has no field of that name.
    """
    made = setup(experiment, splits=("train", *splits))
    inputs = {split: inputs_of(made, split) for split in made.data}
    predicted = _predict(made, inputs)
    models = []
    for model, by_split in predicted.items():
        metrics = []
        for split in splits:
            truth = made.data[split].arrays[made.outputs.truth]
            if made.outputs.targets:
                rows = regression_summary(by_split[split], truth, made.outputs.names)
            else:
                rows = summary(by_split[split], truth, made.class_names)
            metrics += [{**row, "split": split} for row in rows]
        models.append({"name": model, "metrics": metrics})
    folder.mkdir(parents=True, exist_ok=True)
    told = "hand-made features" if experiment.baseline == "features" else experiment.baseline
    write_json(folder / "baselines.json", {"experiment": name, "inputs": told, "models": models})
    return models


def inputs_of(made: Setup, split: str) -> np.ndarray:
    """(N, F) inputs of the baselines: features of the preprocessed images, or a field of the data, flattened."""
    what, arrays = made.experiment.baseline, made.data[split].arrays
    if what == "features":
        return extract(arrays["image"])[0]
    if what not in arrays:
        raise UserError(f"baseline names the field {what!r}; {made.experiment.data} has {', '.join(arrays)}.")
    return arrays[what].reshape(len(arrays[what]), -1).astype(np.float64)


def _predict(made: Setup, inputs: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Model → split → log-probabilities (N, K) or predictions (N, D)."""
    truth, seed = made.data["train"].arrays[made.outputs.truth], made.experiment.seed
    others = [split for split in inputs if split != "train"]
    found: dict[str, dict[str, np.ndarray]] = {}
    together = np.concatenate([inputs[split] for split in others])
    if made.outputs.targets:
        by_model = regress(inputs["train"], truth, together, seed=seed)
    else:
        by_model = classify(inputs["train"], truth, together, num_classes=len(made.class_names), seed=seed)
    borders = np.cumsum([len(inputs[split]) for split in others])[:-1]
    for model, rows in by_model.items():
        found[model] = dict(zip(others, np.split(np.asarray(rows), borders), strict=True))
    return found
