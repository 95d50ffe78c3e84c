"""What the registry knows of a model: a card per name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from flax import linen as nn

_DESCRIPTIONS = {
    "translation": "translation by {step} px",
    "C4": "C4 (turns by 90°), square sides multiple of {step} px",
    "D4": "D4 (turns by 90° and mirrorings), square sides multiple of {step} px",
    "permutation": "permutation of nodes, edges and graphs, or of points",
}


@dataclass(frozen=True)
class Symmetry:
    """A symmetry that a model declares, and the conditions under which it is exact.

    Attributes:
        group: what acts on the input. `"translation"`: cyclic shifts along the spatial axes. `"C4"`: quarter turns of
            a square image about its centre. `"D4"`: these and the mirrorings. `"permutation"`: nodes within their
            graph, edges within theirs, and graphs change places; or points within their set.
        action: `"invariant"`: the output does not change; `"equivariant"`: it moves along.
        step: in pixels. Shifts are exact in multiples of it (the product of all strides), on sizes that it divides;
            turns and mirrorings are exact on square images whose side it divides. Permutations have none.
        config: options of `zoo.create` under which it holds.
    """

    group: Literal["translation", "C4", "D4", "permutation"]
    action: Literal["invariant", "equivariant"]
    step: int = 1
    config: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in self.config.items())
        description = _DESCRIPTIONS[self.group].format(step=self.step)
        return f"{self.action} to {description}" + (f" ({options})" if options else "")


@dataclass(frozen=True)
class Card:
    """One entry of the registry.

    Attributes:
        module: the Flax module class; `module(**config, **options)` builds the model.
        config: what makes the variant.
        title: one line for a table.
        paper: link to the paper.
        inputs: the arrays it takes.
        example: a full-size example input, batch of one, in numbers of which the first is that of examples and the last
            that of channels: the shape (B, …, C) of an array, (B, N, C) of a set of points; of graphs (G, nodes of
            each, edges of each, channels of an edge, channels of a node).
        tiny: options of a small configuration for tests, on inputs of `tiny_example`.
        tiny_example: numbers like `example`, of the input that goes with `tiny`.
        kind: what it takes: `"array"` (arrays or `Sequence`), `"graph"` (`jraph.GraphsTuple`), `"points"`
            (`PointSet`). `zoo.registry.example` makes one.
        outputs: `"classes"`: one vector (B, num_classes) per example; `"pixels"`: one per pixel, (B, …, num_classes)
            with the spatial sizes of the input.
        symmetries: declared symmetries; empty when there are none.
        idle: regular expressions of parameters that receive no gradient, with cause given in the model's file.
        weights: where released weights come from, or `None`.
    """

    module: type[nn.Module]
    config: Mapping[str, Any]
    title: str
    paper: str
    inputs: str
    example: tuple[int, ...]
    tiny: Mapping[str, Any]
    tiny_example: tuple[int, ...]
    kind: Literal["array", "graph", "points"] = "array"
    outputs: Literal["classes", "pixels"] = "classes"
    symmetries: tuple[Symmetry, ...] = ()
    idle: tuple[str, ...] = ()
    weights: str | None = None
