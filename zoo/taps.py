"""Taps: read or perturb any named layer of any Flax module, without changing the model.

A layer is a submodule, addressed by its path, `"stage1_block0/conv1"`; its activation is what its `__call__` returns.
A method interceptor (`flax.linen.intercept_methods`) calls `sow` and `perturb` on the submodules it meets, so that
activations and their gradients travel through Flax's own variable collections, `"intermediates"` and
`"perturbations"`. Unlike a Python closure this is right under `jax.jit`, `vmap`, `grad` and inside `nn.remat`, and
inside `nn.scan`, `nn.vmap` and `nn.RNN` that declare `variable_axes={"intermediates": 0, "perturbations": 0}`
(activations then carry the scanned axis in front). A layer inside a transform that does not declare them cannot be
read, and is an error.

What an activation is
- A layer whose output is a tuple or another pytree has that pytree as its activation.
- A layer called n > 1 times in one forward pass has a tuple of n activations, in the order of the calls. Its gradients
  and its perturbations are such tuples too.
"""

import difflib
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import DenyList
from flax.traverse_util import flatten_dict, unflatten_dict

_ACTIVATIONS = "intermediates"
_PERTURBATIONS = "perturbations"
_TAP = "zoo_tap"  # not a name that a model would give to anything of its own

# Flax's lifted transforms that pass every collection through on their own; any other one must be told to.
_TRANSPARENT = {"pack", "checkpoint", "remat", "remat_scan", "jit", "transpose", "named_call"}


def names(model: nn.Module, *args: Any, **kwargs: Any) -> tuple[str, ...]:
    """Paths of all submodules that `model(*args, **kwargs)` calls, in the order of their first calls, parents first.

    Nothing is computed: the model is initialised abstractly. `args` are arrays or `jax.ShapeDtypeStruct`s (or pytrees
    of them), `kwargs` are passed as they are, e.g. `train=False`.

    >>> import flax.linen as nn, jax
    >>> names(nn.Sequential([nn.Dense(3), nn.relu, nn.Dense(2)]), jax.ShapeDtypeStruct((1, 4), "float32"))
    ('layers_0', 'layers_2')
    """
    met: dict[str, None] = {}
    mutable = DenyList((_ACTIVATIONS, f"{_TAP}:{uuid.uuid4()}"))  # see _apply
    with nn.intercept_methods(_interceptor(frozenset(), (), met)):
        jax.eval_shape(lambda *arrays: model.init(jax.random.key(0), *arrays, mutable=mutable, **kwargs), *args)
    return tuple(met)


def read(
    model: nn.Module, variables: Mapping[str, Any], x: Any, layers: Iterable[str], **kwargs: Any
) -> tuple[Any, dict[str, Any]]:
    """Outputs of `model.apply(variables, x, **kwargs)` and the activations of `layers`, `{layer: activation}`.

    Raises ValueError for a layer that the model does not call (with the closest names), or that runs inside a
    transform which does not let it be read (with the transform's name).
    """
    layers = _as_layers(layers)
    outputs, state = _apply(model, variables, x, layers, (_ACTIVATIONS,), kwargs)
    return outputs, _activations(state, layers)


def perturb(model: nn.Module, variables: Mapping[str, Any], x: Any, deltas: Mapping[str, Any], **kwargs: Any) -> Any:
    """Outputs of the model when `deltas[layer]` is added to the output of each layer named.

    A delta has the structure of the activation that `read` gives for this layer; its arrays broadcast to the
    activation's shapes. `deltas[layer] = -activation` removes a layer, keeping everything else.

    Raises ValueError for an unknown or unreadable layer, and for a delta of another structure or shape.
    """
    layers = _as_layers(deltas)
    own, zeros = _zero_perturbations(model, variables, x, layers, kwargs)
    taps = {}
    for layer in layers:
        places = _places(zeros, layer)
        calls = (deltas[layer],) if len(places) == 1 else deltas[layer]
        if len(places) > 1 and not (isinstance(calls, tuple) and len(calls) == len(places)):
            raise ValueError(
                f"Layer '{layer}' is called {len(places)} times: its delta must be a tuple of {len(places)}, one per"
                f" call in order; got {type(calls).__name__}."
            )
        for place, delta in zip(places, calls, strict=True):
            taps[place] = _broadcast_delta(layer, delta, zeros[place])
    outputs, _ = _apply(
        model, {**variables, _PERTURBATIONS: unflatten_dict(own | taps)}, x, layers, (_ACTIVATIONS,), kwargs
    )
    return outputs


def read_with_gradient(
    score: Callable[[Any], jax.Array],
    model: nn.Module,
    variables: Mapping[str, Any],
    x: Any,
    layers: Iterable[str],
    **kwargs: Any,
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Outputs, activations of `layers`, and the gradients of the score with respect to those activations.

    `score` maps the model's outputs to an array, which is summed: with one number per example, as in (B,), each
    example's activation gets its own example's gradient. Gradients have the structure and the shapes of the
    activations; integer leaves (the edges of a graph) get JAX's `float0`. A layer inside another one is perturbed where
    it stands, so that the two gradients are those of the same forward pass.

    Raises ValueError for an unknown or unreadable layer.
    """
    layers = _as_layers(layers)
    own, taps = _zero_perturbations(model, variables, x, layers, kwargs)

    def summed_score(taps: dict) -> tuple[jax.Array, tuple[Any, dict[str, Any]]]:
        perturbed = {**variables, _PERTURBATIONS: unflatten_dict(own | taps)}
        outputs, state = _apply(model, perturbed, x, layers, (_ACTIVATIONS,), kwargs)
        return jnp.sum(score(outputs)), (outputs, _activations(state, layers))

    gradients, (outputs, activations) = jax.grad(summed_score, has_aux=True, allow_int=True)(taps)
    by_layer = {layer: _one_or_all([gradients[place] for place in _places(taps, layer)]) for layer in layers}
    return outputs, activations, by_layer


def _interceptor(layers: frozenset[str], collections: tuple[str, ...], met: dict[str, None]) -> Callable:
    """Interceptor that notes every submodule called in `met` and taps those in `layers`.

    `collections` are those that a tapped module must be able to write to.
    """
    running: list[str] = []

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        path = "/".join(module.path)
        # `super().__call__` and shared scopes come here a second time for the same layer: only the outermost counts.
        if context.method_name != "__call__" or not path or path in running:
            return call(*args, **kwargs)
        met.setdefault(path)
        running.append(path)
        try:
            y = call(*args, **kwargs)
        finally:
            running.pop()
        if path not in layers:
            return y
        if not all(module.is_mutable_collection(collection) for collection in collections):
            raise ValueError(_unreadable(path))
        # One perturbation for each call. Calls are counted in the scope, not in Python, since transforms trace a module
        # more than once.
        call_index = len(module.get_variable(_ACTIVATIONS, _TAP, ()))
        y = module.perturb(f"{_TAP}{call_index}", y, _PERTURBATIONS)
        module.sow(_ACTIVATIONS, _TAP, y)
        return y

    return intercept


def _apply(
    model: nn.Module,
    variables: Mapping[str, Any],
    x: Any,
    layers: tuple[str, ...],
    mutable: tuple[str, ...],
    kwargs: dict,
) -> tuple[Any, Mapping[str, Any]]:
    """Outputs and the collections in `mutable`, every layer tapped."""
    met: dict[str, None] = {}
    # `nn.jit` reuses its traces, tapped or not, for equal mutable collections: one that never exists tells them apart.
    reuse = f"{_TAP}:{','.join(layers)}"
    with nn.intercept_methods(_interceptor(frozenset(layers), mutable, met)):
        outputs, state = model.apply(variables, x, mutable=[*mutable, reuse], **kwargs)
    # A reused trace meets no modules, but brings their activations.
    sown = flatten_dict(dict(state.get(_ACTIVATIONS, {})))
    unknown = [layer for layer in layers if layer not in met and _sown_at(layer) not in sown]
    if unknown:
        raise ValueError(_unknown(unknown[0], tuple(met), model))
    return outputs, state


def _activations(state: Mapping[str, Any], layers: tuple[str, ...]) -> dict[str, Any]:
    sown = flatten_dict(dict(state.get(_ACTIVATIONS, {})))
    return {layer: _one_or_all(sown[_sown_at(layer)]) for layer in layers}


def _sown_at(layer: str) -> tuple[str, ...]:
    return (*layer.split("/"), _TAP)


def _zero_perturbations(
    model: nn.Module, variables: Mapping[str, Any], x: Any, layers: tuple[str, ...], kwargs: dict
) -> tuple[dict[tuple[str, ...], Any], dict[tuple[str, ...], Any]]:
    """The model's own perturbations and the zeros of our taps, both flattened, `{path: pytree}`.

    Once a `perturbations` collection exists, Flax expects it to be complete, the model's own `perturb` calls included.
    """

    def shapes(variables: Mapping[str, Any], x: Any) -> Mapping[str, Any]:
        _, state = _apply(model, variables, x, layers, (_ACTIVATIONS, _PERTURBATIONS), kwargs)
        return state.get(_PERTURBATIONS, {})

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(shapes, dict(variables), x))
    # A tap's value may itself be a dict: it stays whole.
    zeros = flatten_dict(dict(zeros), is_leaf=lambda place, _: bool(place) and place[-1].startswith(_TAP))
    taps = {place: value for place, value in zeros.items() if place[-1].startswith(_TAP)}
    own = {place: value for place, value in zeros.items() if place not in taps}
    return own | flatten_dict(dict(variables.get(_PERTURBATIONS, {}))), taps


def _places(taps: Mapping[tuple[str, ...], Any], layer: str) -> list[tuple[str, ...]]:
    """Paths of a layer's perturbations, in the order of its calls."""
    path = tuple(layer.split("/"))
    return sorted((place for place in taps if place[:-1] == path), key=lambda place: int(place[-1].removeprefix(_TAP)))


def _one_or_all(calls: Iterable[Any]) -> Any:
    calls = tuple(calls)
    return calls[0] if len(calls) == 1 else calls


def _broadcast_delta(layer: str, delta: Any, zeros: Any) -> Any:
    expected, got = jax.tree.structure(zeros), jax.tree.structure(delta)
    if expected != got:
        raise ValueError(
            f"Layer '{layer}' returns the structure {expected}; its delta must have the same, got {got}."
            " `taps.read` gives an example."
        )

    def broadcast(zero: jax.Array, value: Any) -> jax.Array:
        try:
            return jnp.broadcast_to(jnp.asarray(value, zero.dtype), zero.shape)
        except ValueError:
            raise ValueError(
                f"Layer '{layer}' has shape {zero.shape}; its delta must broadcast to it, got shape {jnp.shape(value)}."
            ) from None

    return jax.tree.map(broadcast, zeros, delta)


def _as_layers(layers: Iterable[str]) -> tuple[str, ...]:
    if isinstance(layers, str):
        raise ValueError(f"Expected a sequence of layer names, got the one string '{layers}': write ['{layers}'].")
    return tuple(dict.fromkeys(layers))


def _unknown(layer: str, met: tuple[str, ...], model: nn.Module) -> str:
    close = difflib.get_close_matches(layer, met, n=3, cutoff=0.5)
    hint = f" Closest: {', '.join(close)}." if close else ""
    few = ", ".join(met[:8]) + (f", … ({len(met)} in all)" if len(met) > 8 else "")
    return (
        f"{type(model).__name__} calls no layer '{layer}'.{hint}"
        f" Its layers are: {few or 'none'}. `zoo.taps.names(model, x)` lists them all."
    )


def _unreadable(layer: str) -> str:
    """Message for a layer that runs inside a transform which keeps our collections out."""
    transforms = [f"nn.{name}" for name in _lifted_transforms() if name not in _TRANSPARENT]
    return (
        f"Layer '{layer}' was met but cannot be tapped: it runs inside {(transforms or ['a transform'])[0]}, which does"
        f" not declare the collections '{_ACTIVATIONS}' and '{_PERTURBATIONS}'. Give it (nn.scan, nn.vmap or nn.RNN)"
        f" variable_axes={{'{_ACTIVATIONS}': 0, '{_PERTURBATIONS}': 0}}, or choose a layer outside."
    )


def _lifted_transforms() -> list[str]:
    """Names of the Flax transforms under way, innermost first.

    Flax does not tell a module which transforms it runs in; the call stack does. Only error messages use this.
    """
    found, frame = [], sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == "flax.core.lift":
            found.append(frame.f_code.co_qualname.split(".")[0])
        frame = frame.f_back
    return found
