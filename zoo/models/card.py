"""What the registry knows of a model: a card per name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from flax import linen as nn


@dataclass(frozen=True)
class Symmetry:
    """A symmetry that a model declares, and the conditions under which it is exact.

    Attributes:
        group: what acts on the input. `"translation"`: cyclic shifts along the spatial axes.
        action: `"invariant"`: the output does not change; `"equivariant"`: it moves along.
        step: shifts are exact in multiples of this many pixels (the product of all strides), on sizes that it divides.
        config: options of `zoo.create` under which it holds.
    """

    group: Literal["translation"]
    action: Literal["invariant", "equivariant"]
    step: int
    config: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in self.config.items())
        return f"{self.action} to {self.group} by {self.step} px" + (f" ({options})" if options else "")


@dataclass(frozen=True)
class Card:
    """One entry of the registry.

    Attributes:
        module: the Flax module class; `module(**config, **options)` builds the model.
        config: what makes the variant.
        title: one line for a table.
        paper: link to the paper.
        inputs: the arrays it takes.
        example: shape of a full-size example input, batch of one.
        tiny: options of a small configuration for tests, on inputs of shape `tiny_example`.
        tiny_example: input shape that goes with `tiny`.
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
    symmetries: tuple[Symmetry, ...] = ()
    idle: tuple[str, ...] = ()
    weights: str | None = None
