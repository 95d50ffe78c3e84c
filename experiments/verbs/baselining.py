"""`zoo baseline`: linear models and trees on hand-made features, the score that a network must beat (B8)."""

from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import UserError
from zoo_experiments.verbs.baselines import classify, regress
from zoo_experiments.verbs.evaluating import regression_summary, summary
from zoo_experiments.verbs.experiment import Experiment, Setup, setup
from zoo_experiments.verbs.features import extract
from zoo_experiments.verbs.pixel_baselines import classify_pixels, regress_pixels
from zoo_experiments.verbs.pixel_scores import pixel_scores
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
    if made.outputs.dense:
        predicted = _predict_pixels(made)
    else:
        predicted = _predict(made, {split: inputs_of(made, split) for split in made.data})
    models = []
    for model, by_split in predicted.items():
        metrics = []
        for split in splits:
            truth = made.data[split].arrays[made.outputs.truth]
            if made.outputs.dense:
                rows = pixel_scores(made, by_split[split], made.data[split])
            elif made.outputs.targets:
                rows = regression_summary(by_split[split], truth, made.outputs.names)
            else:
                rows = summary(by_split[split], truth, made.class_names)
            metrics += [{**row, "split": split} for row in rows]
        models.append({"name": model, "metrics": metrics})
    folder.mkdir(parents=True, exist_ok=True)
    told = "hand-made features" if experiment.baseline == "features" else experiment.baseline
    told = "features of pixels" if made.outputs.dense else told
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


def _predict_pixels(made: Setup) -> dict[str, dict[str, np.ndarray]]:
    """Model → split → what a network's raw outputs would be for these predictions (N, …, K)."""
    outputs, train, seed = made.outputs, made.data["train"].arrays, made.experiment.seed
    others = {split: source.arrays["image"] for split, source in made.data.items() if split != "train"}
    together, valid = np.concatenate(list(others.values())), train.get("valid")
    if outputs.targets:
        truth = (train["target"] - np.asarray(outputs.centre, np.float32)) / np.asarray(outputs.scale, np.float32)
        by_model = regress_pixels(train["image"], truth, together, valid=valid, seed=seed)
        if outputs.spread:
            # Baselines claim no spread of their own: one standard deviation of the targets everywhere.
            by_model = {name: np.concatenate([rows, np.zeros_like(rows)], -1) for name, rows in by_model.items()}
    elif outputs.masks:
        by_model = {}
        for m in range(len(outputs.masks)):
            found = classify_pixels(
                train["image"], train["masks"][..., m], together, num_classes=2, valid=valid, seed=seed
            )
            for name, log_p in found.items():
                by_model.setdefault(name, []).append(log_p[..., 1] - log_p[..., 0])
        by_model = {name: np.stack(maps, axis=-1) for name, maps in by_model.items()}
    else:
        by_model = classify_pixels(
            train["image"],
            train["label"],
            together,
            num_classes=len(outputs.class_names),
            valid=valid,
            seed=seed,
        )
    borders = np.cumsum([len(images) for images in others.values()])[:-1]
    return {name: dict(zip(others, np.split(rows, borders), strict=True)) for name, rows in by_model.items()}


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
