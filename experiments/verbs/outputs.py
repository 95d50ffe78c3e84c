"""What the outputs of a network mean: classes or numbers, of a whole image or of each of its pixels."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from zoo.errors import UserError
from zoo_datasets.loading.records import Dataset
from zoo_experiments.verbs.fields import field_of
from zoo_experiments.verbs.graphs import ROWS_OF_TRUTH

Rows = Literal["", "step", "node", "edge", "pair", "point"]
Kind = Literal["classification", "regression", "segmentation", "masks", "maps", "both"]


@dataclass(frozen=True)
class Outputs:
    """Classes, targets or masks: one of them, or masks with targets of the whole image beside them.

    Attributes:
        class_names: names of the classes; empty for targets and masks.
        targets: name of each number to be predicted → its unit; empty for classes and masks.
        centre: for each target the mean over the training data, subtracted before training.
        scale: for each target the standard deviation over the training data, by which it is divided.
        masks: names of maps of yes and no, which may overlap; empty for classes and targets.
        dense: whether every pixel has a class, masks, or numbers of its own.
        spread: whether the network predicts a standard deviation beside each number of each pixel or node.
        rows: what has a class, or numbers, of its own: every step of a sequence, every node or edge of a graph, every
            pair of nodes that is asked about, every point of a set; empty where the whole has.
    """

    class_names: tuple[str, ...] = ()
    targets: Mapping[str, str] = field(default_factory=dict)
    centre: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    masks: tuple[str, ...] = ()
    dense: bool = False
    spread: bool = False
    rows: Rows = ""

    @property
    def steps(self) -> bool:
        """Whether every step of a sequence has a class, or numbers, of its own."""
        return self.rows == "step"

    @property
    def kind(self) -> Kind:
        """A class or numbers of an image; a class, masks or numbers of each pixel; masks, and numbers of the image."""
        if self.masks:
            return "both" if self.targets else "masks"
        if self.targets:
            return "maps" if self.dense else "regression"
        return "segmentation" if self.dense else "classification"

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each class, mask or target; of masks alone where there are both."""
        return self.masks or tuple(self.targets) or self.class_names

    @property
    def channels(self) -> int:
        """Number of outputs of the network, for an image or a pixel; of masks alone where there are both."""
        return len(self.names) * (2 if self.spread else 1)

    @property
    def truth(self) -> str:
        """Field of the records that holds the truth; that of the masks where there are both."""
        return "masks" if self.masks else "target" if self.targets else "label"

    @property
    def parts(self) -> tuple["Outputs", ...]:
        """Masks and targets each by itself where there are both, else these outputs."""
        if self.kind != "both":
            return (self,)
        return Outputs(masks=self.masks, dense=True), dataclasses.replace(self, masks=(), dense=False)

    @property
    def score(self) -> str:
        """The metric that stands for all: during training, and in tables unless an experiment names another."""
        if self.kind in ("segmentation", "masks"):
            return "dice"
        return "accuracy" if self.kind == "classification" else "r2"

    def standardised_by(self, targets: np.ndarray, valid: np.ndarray | None = None) -> "Outputs":
        """These outputs with centre and scale taken from training targets (N, D) or (N, …, D).

        Args:
            targets: of all training records.
            valid: (N, …) 1 where a pixel counts; all when None.

        Raises:
            UserError: another number of targets, or one that is the same everywhere.
        """
        many = self.kind == "maps" or bool(self.rows)
        expected = "(N, …, " if many else "(N, "
        if (targets.ndim > 2) != many or targets.ndim < 2 or targets.shape[-1] != len(self.targets):
            raise UserError(
                f"The field target should have the shape {expected}{len(self.targets)}) for {', '.join(self.targets)}; "
                f"got {targets.shape}."
            )
        rows = targets.reshape(-1, targets.shape[-1]) if valid is None else targets[valid > 0]
        scale = rows.std(axis=0, dtype=np.float64)
        same = [name for name, s in zip(self.targets, scale, strict=True) if not s > 0]
        if same:
            raise UserError(f"All training records have the same {same[0]}: there is nothing to learn.")
        centre = rows.mean(axis=0, dtype=np.float64)
        return dataclasses.replace(self, centre=tuple(centre.tolist()), scale=tuple(scale.tolist()))

    def as_json(self) -> dict[str, Any]:
        """Plain lists and dicts."""
        numbers = {"targets": dict(self.targets), "centre": list(self.centre), "scale": list(self.scale)}
        told = {
            **({"masks": list(self.masks)} if self.masks else {}),
            **(numbers if self.targets else {}),
            **({"dense": True} if self.dense else {}),
            **({"spread": True} if self.spread else {}),
            **({"rows": self.rows} if self.rows else {}),
        }
        return told if self.masks or self.targets else {"class_names": list(self.class_names), **told}


def outputs_of(dataset: Dataset, *, learn: str = "", spread: bool = False) -> Outputs:
    """What a network for this data has to say.

    Args:
        dataset: the data.
        learn: which truth, where the data has several: `label`, `target`, `masks` or `both` of the last two; the only
            one, or masks before targets before labels, when empty.
        spread: for maps of numbers, whether their standard deviations are predicted too.

    Raises:
        UserError: the data has no such truth, or none at all; or a spread is asked for where there are no maps.
    """
    there = {"masks": dataset.masks, "target": dataset.targets, "label": dataset.class_names}
    there = {name: found for name, found in there.items() if found}
    if not there:
        raise UserError(f"{dataset.name} has no labels: training and evaluation need them, `zoo predict` does not.")
    known = [*there, *(["both"] if {"masks", "target"} <= set(there) else [])]
    if learn and learn not in known:
        raise UserError(f"learn names {learn!r}; {dataset.name} has {', '.join(known)}.")
    what = learn or next(iter(there))
    if what in ("masks", "both"):
        targets = dict(dataset.targets) if what == "both" else {}
        outputs = Outputs(masks=tuple(dataset.masks), targets=targets, dense=True)
    else:
        rows = _rows_of(dataset, what)
        dense = rows == "pixel"
        kind = {"dense": dense, "rows": "" if dense else rows}
        if what == "target":
            outputs = Outputs(targets=dict(dataset.targets), spread=spread, **kind)
        else:
            outputs = Outputs(class_names=tuple(dataset.class_names), **kind)
    if spread and outputs.kind != "maps" and not (outputs.rows == "node" and outputs.targets):
        raise UserError(f"A spread is predicted for numbers of pixels or nodes; {dataset.name} has {outputs.kind}.")
    return outputs


def outputs_from_json(values: Mapping[str, Any]) -> Outputs:
    """The inverse of `Outputs.as_json`; other entries are ignored."""
    return Outputs(
        class_names=tuple(values.get("class_names", ())),
        targets=dict(values.get("targets", {})),
        centre=tuple(values.get("centre", ())),
        scale=tuple(values.get("scale", ())),
        masks=tuple(values.get("masks", ())),
        dense=values.get("dense", False),
        spread=values.get("spread", False),
        # Runs of older versions say so of steps.
        rows=values.get("rows", "step" if values.get("steps") else ""),
    )


def _rows_of(dataset: Dataset, what: str) -> str:
    """What has a truth of its own: a kind of rows, `pixel`, or nothing but the whole record."""
    record, field = _first(dataset), field_of(dataset)
    if field == "graph":
        ending = f"_{what}"
        return next((rows for name, rows in ROWS_OF_TRUTH.items() if name in record and name.endswith(ending)), "")
    many = np.ndim(record.get(what, 0)) > (1 if what == "target" else 0)
    return {"image": "pixel", "sequence": "step", "points": "point"}[field] if many else ""


def _first(dataset: Dataset) -> Mapping[str, Any]:
    """A record of the data, empty where there is none."""
    return next((source[0] for source in dataset.splits.values() if len(source)), {})
