"""`zoo baseline`: linear models and trees on hand-made features, the score that a network must beat (B8)."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import UserError
from zoo_datasets.loading.records import ArraySource
from zoo_experiments.verbs import graph_baselines
from zoo_experiments.verbs.baselines import classify, regress
from zoo_experiments.verbs.experiment import Experiment, Setup, setup
from zoo_experiments.verbs.features import extract
from zoo_experiments.verbs.graph_scores import row_scores
from zoo_experiments.verbs.graphs import Graphs, Points
from zoo_experiments.verbs.pixel_baselines import classify_pixels, regress_pixels
from zoo_experiments.verbs.pixel_scores import pixel_scores
from zoo_experiments.verbs.runs import write_json
from zoo_experiments.verbs.sequence_baselines import BASELINES, OF_LABELS, light_curves
from zoo_experiments.verbs.sequence_scores import step_scores
from zoo_experiments.verbs.sequences import Sequences
from zoo_experiments.verbs.statistics import regression_summary, summary

LIGHT_CURVES = "light_curve_features"
# What `baselines.json` says of what the models were given; a field of the data is called by its name.
INPUTS = {
    "features": "hand-made features",
    LIGHT_CURVES: "hand-made features of light curves",
    "nearest_neighbour": "nearest neighbour",
    "straight_line": "last places",
    "characters_before": "counts",
    "bag_of_tags": "bag of tags",
    "bag_of_degrees": "bag of degrees",
    "own_features": "own features",
    "neighbourhood": "neighbourhood by hand",
    "label_propagation": "known labels, spread",
    "common_neighbours": "common neighbours, words",
    "set_features": "features of the set",
}


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
        UserError: the experiment has no baseline, or one that is not for its data.
    """
    if not experiment.baseline:
        raise UserError(
            f"{name} has no baseline: set the experiment's `baseline` to the name of a field of {experiment.data}, or "
            f"to one of {', '.join(INPUTS)}."
        )
    # Features of light curves are made of fluxes as the data set has them.
    raw = experiment.baseline == LIGHT_CURVES
    read = dataclasses.replace(experiment, sequences=Sequences()) if raw else experiment
    if experiment.baseline in graph_baselines.BASELINES:
        # Likewise masses and weights of points; types of edges are told apart by themselves.
        read = dataclasses.replace(experiment, graphs=Graphs(types="none"), points=Points())
    made = setup(read, splits=("train", *splits))
    if made.outputs.dense:
        predicted = _predict_pixels(made)
    elif made.field == "sequence" and experiment.baseline in BASELINES:
        predicted = BASELINES[experiment.baseline](made)
    elif made.field in ("graph", "points") and experiment.baseline in graph_baselines.BASELINES:
        predicted = graph_baselines.BASELINES[experiment.baseline](made)
    else:
        added = experiment.sequences.add
        predicted = _predict(made, {split: inputs_of(made, split, added=added) for split in made.data})
    models = []
    for model, by_split in predicted.items():
        metrics = []
        for split in splits:
            rows = _scores(made, by_split[split], made.data[split])
            metrics += [{**row, "split": split} for row in rows]
        models.append({"name": model, "metrics": metrics})
    folder.mkdir(parents=True, exist_ok=True)
    told = "features of pixels" if made.outputs.dense else INPUTS.get(experiment.baseline, experiment.baseline)
    write_json(folder / "baselines.json", {"experiment": name, "inputs": told, "models": models})
    return models


def _scores(made: Setup, predicted: np.ndarray, source: ArraySource) -> list[dict[str, Any]]:
    """Metrics of raw outputs, or of predictions (N, D) in their units."""
    outputs, truth = made.outputs, source.arrays[made.outputs.truth]
    if outputs.dense:
        return pixel_scores(made, predicted, source)
    if outputs.steps:
        return step_scores(made, predicted, source)
    if outputs.rows:
        if outputs.targets and not outputs.spread:
            # As a network gives them.
            predicted = (predicted - np.asarray(outputs.centre)) / np.asarray(outputs.scale)
        return row_scores(made, predicted, source)
    if outputs.targets:
        return regression_summary(predicted, truth, outputs.names)
    rows = summary(predicted, truth, made.class_names)
    if made.experiment.baseline == "nearest_neighbour":
        # It names a class and no probability.
        rows = [row for row in rows if row["name"].split(" ")[0] in OF_LABELS]
    return rows


def inputs_of(made: Setup, split: str, *, added: tuple[str, ...] = ()) -> np.ndarray:
    """(N, F) inputs of the baselines: features of the preprocessed images, of light curves in the units of the data, or
    a field of the data, flattened.

    Args:
        made: functions of the experiment, with the split in memory.
        split: its name.
        added: fields that a network on sequences is given beside every step.
    """
    what, arrays = made.experiment.baseline, made.data[split].arrays
    if made.outputs.steps:
        raise UserError(
            f"baseline is {what!r}, of which one prediction a sequence is made; here every step has its truth. There "
            "are straight_line for places of a ball and characters_before for symbols."
        )
    if what == LIGHT_CURVES:
        return light_curves(made.data[split], added)
    if what == "features" and made.field == "image":
        return extract(arrays["image"])[0]
    if what in INPUTS or what not in arrays:
        told = f"is {what!r}, which is not made of {made.field}s" if what in INPUTS else f"names the field {what!r}"
        raise UserError(f"baseline {told}; {made.experiment.data} has the fields {', '.join(arrays)}.")
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
