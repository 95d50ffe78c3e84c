"""What the outputs of a network mean: classes, or numbers with units."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.errors import UserError
from zoo_datasets.loading.records import Dataset


@dataclass(frozen=True)
class Outputs:
    """Classes or targets, never both.

    Attributes:
        class_names: names of the classes; empty for regression.
        targets: name of each number to be predicted → its unit; empty for classification.
        centre: for each target the mean over the training data, subtracted before training.
        scale: for each target the standard deviation over the training data, by which it is divided.
    """

    class_names: tuple[str, ...] = ()
    targets: Mapping[str, str] = field(default_factory=dict)
    centre: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        """`classification` or `regression`."""
        return "regression" if self.targets else "classification"

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each output."""
        return tuple(self.targets) or self.class_names

    @property
    def truth(self) -> str:
        """Field of the records that holds the truth."""
        return "target" if self.targets else "label"

    @property
    def score(self) -> str:
        """The metric that stands for all: during training, and in tables unless an experiment names another."""
        return "r2" if self.targets else "accuracy"

    def standardised_by(self, targets: np.ndarray) -> "Outputs":
        """These outputs with centre and scale taken from training targets (N, D).

        Raises:
            UserError: another number of targets, or one that is the same in all records.
        """
        if targets.ndim != 2 or targets.shape[1] != len(self.targets):
            raise UserError(
                f"The field target should have the shape (N, {len(self.targets)}) for {', '.join(self.targets)}; "
                f"got {targets.shape}."
            )
        scale = targets.std(axis=0, dtype=np.float64)
        same = [name for name, s in zip(self.targets, scale, strict=True) if not s > 0]
        if same:
            raise UserError(f"All training records have the same {same[0]}: there is nothing to learn.")
        centre = targets.mean(axis=0, dtype=np.float64)
        return Outputs((), self.targets, tuple(centre.tolist()), tuple(scale.tolist()))

    def as_json(self) -> dict[str, Any]:
        """Plain lists and dicts."""
        if not self.targets:
            return {"class_names": list(self.class_names)}
        return {"targets": dict(self.targets), "centre": list(self.centre), "scale": list(self.scale)}


def outputs_of(dataset: Dataset) -> Outputs:
    """What a network for this data has to say.

    Raises:
        UserError: the data has neither classes nor targets.
    """
    if dataset.targets:
        return Outputs(targets=dict(dataset.targets))
    if dataset.class_names is None:
        raise UserError(f"{dataset.name} has no labels: training and evaluation need them, `zoo predict` does not.")
    return Outputs(class_names=tuple(dataset.class_names))


def outputs_from_json(values: Mapping[str, Any]) -> Outputs:
    """The inverse of `Outputs.as_json`; other entries are ignored."""
    return Outputs(
        tuple(values.get("class_names", ())),
        dict(values.get("targets", {})),
        tuple(values.get("centre", ())),
        tuple(values.get("scale", ())),
    )
