"""What a network is trained for, by what its outputs mean."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from zoo import train
from zoo.errors import UserError
from zoo_datasets.loading.records import ArraySource
from zoo_experiments.verbs.fields import Field
from zoo_experiments.verbs.outputs import Outputs

if TYPE_CHECKING:
    from zoo_experiments.verbs.experiment import Optimisation

_INPUTS = {"graph": train.graphs_of, "points": train.points_of}


def task_of(how: "Optimisation", outputs: Outputs, source: ArraySource | None, field: Field) -> train.Task:
    """The task of an experiment.

    Args:
        how: loss and its options.
        outputs: what the network says.
        source: training records, of which classes may be weighed; None where nothing is trained.
        field: what the records are.

    Raises:
        UserError: a loss that is not for such outputs, or balanced weights of a class without records.
    """
    if field == "sequence":
        return train.on_sequences(task_of(how, outputs, source, "image"), every_step=outputs.steps)
    if field in _INPUTS:
        # Numbers of nodes are like those of pixels.
        numbers = outputs.rows and outputs.targets
        task = dense_task(how, outputs) if numbers else task_of(how, outputs, source, "image")
        task = train.on_rows(task) if outputs.rows and not numbers else task
        # Labels of pairs are known to what draws pairs.
        return dataclasses.replace(task, inputs=_INPUTS[field], maps=("label",) if outputs.rows == "pair" else ())
    if outputs.kind == "both":
        return train.joint(*(task_of(how, part, source, field) for part in outputs.parts))
    weights = None if outputs.targets or outputs.masks else _class_weights(how, outputs, source)
    if outputs.dense:
        return dense_task(how, outputs, class_weights=weights)
    if outputs.targets:
        return train.regression(centre=outputs.centre, scale=outputs.scale, delta=how.huber or np.inf)
    if how.loss != "cross_entropy":
        raise UserError(f"optimisation.loss is {how.loss!r}, which is for classes and masks of pixels.")
    return train.classification(
        class_weights=weights, label_smoothing=how.label_smoothing, class_names=outputs.class_names
    )


def valid_of(arrays: Mapping[str, np.ndarray], outputs: Outputs) -> np.ndarray | None:
    """Which pixels, steps or other rows have a truth that counts, (N, …); None where all have."""
    if not outputs.steps:
        return arrays.get("valid")
    return np.asarray(train.counted_steps(arrays, arrays["sequence"].shape[1]))


def dense_task(
    how: "Optimisation",
    outputs: Outputs,
    *,
    class_weights: Sequence[float] | None = None,
    boundary: float | None = None,
) -> train.Task:
    """The task of a network that says something about every pixel, or numbers of every node; the first class is the
    background.

    Args:
        how: loss and its options.
        outputs: what the network says.
        class_weights: of the classes in the loss.
        boundary: tolerance in pixels within which boundaries agree, when they are counted.
    """
    if outputs.targets:
        return train.maps(
            centre=outputs.centre,
            scale=outputs.scale,
            delta=how.huber or np.inf,
            heteroscedastic=outputs.spread,
            beta=how.beta,
            names=outputs.names,
        )
    if outputs.masks:
        return train.masks(names=outputs.masks, loss=how.loss, gamma=how.gamma, boundary=boundary)
    return train.segmentation(
        class_names=outputs.class_names,
        class_weights=class_weights,
        loss=how.loss,
        gamma=how.gamma,
        label_smoothing=how.label_smoothing,
        background=0,
        boundary=boundary,
    )


def _class_weights(how: "Optimisation", outputs: Outputs, source: ArraySource | None) -> list[float] | None:
    weights = None
    if how.class_weights == "balanced" and source is not None:
        labels = source.arrays["label"]
        # Rows that do not count have no class.
        labels = labels[valid_of(source.arrays, outputs) > 0] if outputs.rows else labels.ravel()
        counts = np.bincount(labels, minlength=len(outputs.class_names))
        absent = [name for name, count in zip(outputs.class_names, counts, strict=True) if count == 0]
        if absent:
            raise UserError(f"Balanced class weights need training examples of every class; {absent} have none.")
        weights = np.asarray(train.balanced_weights(counts)).tolist()
    return weights
