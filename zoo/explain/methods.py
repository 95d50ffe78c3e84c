"""The explainers by name, with one signature, for the command line and the report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax

from zoo.explain.cam import grad_cam
from zoo.explain.gradients import gradient_x_input, integrated_gradients, saliency, smooth_grad
from zoo.explain.occlusion import occlusion
from zoo.explain.score import ScoreFunction, score

# Signature: (model, variables, x, target, key, layer, options) → attribution, (B, …) of x's shape or (B, *spatial).
# `key` and `layer` are used by the methods that need them; `options` are the explainer's own keyword arguments.
Explain = Callable[
    [nn.Module, Mapping[str, Any], jax.Array, int | jax.Array, jax.Array, str | None, Mapping[str, Any]], jax.Array
]


@dataclass(frozen=True)
class Method:
    """One explainer: `kind` says whether it attributes to the input's values or to the places of a `layer`."""

    name: str
    kind: Literal["input", "layer"]
    summary: str
    function: Explain


def methods() -> dict[str, Method]:
    """All explainers that can be called by name, in the order in which to try them.

    >>> list(methods())
    ['saliency', 'gradient_x_input', 'smooth_grad', 'integrated_gradients', 'grad_cam', 'occlusion']
    """
    return {method.name: method for method in _METHODS}


def _of_score(explain: Callable[[ScoreFunction, jax.Array, jax.Array, Mapping[str, Any]], jax.Array]) -> Explain:
    def function(
        model: nn.Module,
        variables: Mapping[str, Any],
        x: jax.Array,
        target: int | jax.Array,
        key: jax.Array,
        layer: str | None,
        options: Mapping[str, Any],
    ) -> jax.Array:
        del layer
        return explain(score(model, variables, target), x, key, options)

    return function


def _grad_cam(
    model: nn.Module,
    variables: Mapping[str, Any],
    x: jax.Array,
    target: int | jax.Array,
    key: jax.Array,
    layer: str | None,
    options: Mapping[str, Any],
) -> jax.Array:
    del key
    if layer is None:
        raise ValueError("grad_cam needs a layer: `zoo.taps.names(model, x)` lists them.")
    return grad_cam(model, variables, x, target=target, layer=layer, **options)


def _occlusion(f: ScoreFunction, x: jax.Array, key: jax.Array, options: Mapping[str, Any]) -> jax.Array:
    """Windows of an eighth of the input, half overlapping, unless the options say otherwise."""
    del key
    patch = options.get("patch", tuple(max(1, size // 8) for size in x.shape[1:-1]))
    widths = (patch,) * len(x.shape[1:-1]) if isinstance(patch, int) else patch
    return occlusion(f, x, **{"patch": patch, "stride": tuple(max(1, width // 2) for width in widths), **options})


_METHODS = (
    Method(
        "saliency",
        "input",
        "gradient of the logit with respect to the input",
        _of_score(lambda f, x, key, options: saliency(f, x, **options)),
    ),
    Method(
        "gradient_x_input",
        "input",
        "gradient times input",
        _of_score(lambda f, x, key, options: gradient_x_input(f, x, **options)),
    ),
    Method(
        "smooth_grad",
        "input",
        "mean gradient over noisy copies of the input",
        _of_score(lambda f, x, key, options: smooth_grad(f, x, key=key, **options)),
    ),
    Method(
        "integrated_gradients",
        "input",
        "gradients integrated from a baseline to the input; they sum to the difference of the logits",
        _of_score(lambda f, x, key, options: integrated_gradients(f, x, **options).values),
    ),
    Method("grad_cam", "layer", "places of a layer that speak for the class", _grad_cam),
    Method("occlusion", "input", "drop of the logit when a window is covered", _of_score(_occlusion)),
)
