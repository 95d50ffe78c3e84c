"""From a classifier to a function x (B, …) → (B,), and the one check that every explainer makes of such a function.

Explainers ask for the logit, not for the probability: a saturated softmax has no gradient left to explain, and it mixes
in the evidence for the other classes (Simonyan+14, arXiv 1312.6034, §2).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

# Signature: inputs (B, …) → one number per example (B,); example i of the output depends on example i of the input
# only.
ScoreFunction = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True, eq=False)
class Logit:
    """The static part of `score`: which module, with which static keyword arguments. Equal ones share compiled code.

    Modules are compared by their fields, as dataclasses are; one that holds a list or an array (`nn.Sequential`), which
    Python cannot hash, by its identity.
    """

    module: nn.Module
    options: tuple[tuple[str, Any], ...] = ()

    def _identity(self) -> tuple[Any, ...]:
        try:
            hash(self.module)
        except TypeError:
            return id(self.module), self.options
        return self.module, self.options

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Logit) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __call__(
        self, variables: Mapping[str, Any], target: jax.Array, arrays: dict[str, Any], x: jax.Array
    ) -> jax.Array:
        """The target's output (B,) of `module.apply(variables, x)`, which must be (B, K)."""
        outputs = self.module.apply(variables, x, **dict(self.options), **arrays)
        check_target(target, outputs, np.shape(x)[0])
        return select(outputs, target)

    def check(self, variables: Mapping[str, Any], target: jax.Array, arrays: dict[str, Any], x: jax.Array) -> None:
        """ValueError where the target does not fit the outputs for x; nothing is computed."""
        outputs = jax.eval_shape(_outputs, self, variables, arrays, x)
        check_target(target, outputs, np.shape(x)[0])


@jax.jit(static_argnums=0)
def _outputs(static: Logit, variables: Mapping[str, Any], arrays: dict[str, Any], x: jax.Array) -> Any:
    return static.module.apply(variables, x, **dict(static.options), **arrays)


def score(model: nn.Module, variables: Mapping[str, Any], target: int | jax.Array, **apply_kwargs: Any) -> Partial:
    """The logit of `target` as a function x (B, …) → (B,), in evaluation mode.

    `model` maps x to logits (B, K); `target` is one class for all examples or an integer array (B,). `train=False` is
    passed where the model takes `train`; further `apply_kwargs` go to `model.apply`.

    The result is a pytree: variables, target and array arguments are its leaves, so that they are traced and another
    checkpoint or class runs the same compiled code. The model, a frozen dataclass, is its static part.

    Raises ValueError here for a target that is not an integer and for a keyword argument that cannot be hashed. Calling
    the score, or explaining it, raises ValueError for outputs that are not (B, K) and for a target out of range where
    its value is known; inside `jax.jit` it is not, and such a target scores NaN (a negative one counts from the end).
    """
    if _takes_train(model):
        apply_kwargs = {"train": False, **apply_kwargs}
    arrays = {name: value for name, value in apply_kwargs.items() if _holds_arrays(value)}
    static = Logit(model, tuple(sorted((name, value) for name, value in apply_kwargs.items() if name not in arrays)))
    try:
        hash(static)
    except TypeError as error:
        raise ValueError(
            f"Keyword arguments are either arrays or hashable, so that the model is compiled once; got {apply_kwargs}"
            f" ({error}): use tuples instead of lists."
        ) from None
    return Partial(static, variables, as_target(target), arrays)


def as_target(target: int | jax.Array) -> jax.Array:
    """`target` as an int32 array, () or (B,); ValueError for anything else."""
    target = jnp.asarray(target)
    if not jnp.issubdtype(target.dtype, jnp.integer) or target.ndim > 1:
        raise ValueError(
            f"target must be a class index or an integer array (B,); got {target.dtype} of shape {target.shape}."
        )
    return target.astype(jnp.int32)


def check_target(target: jax.Array, outputs: Any, batch: int) -> None:
    """ValueError unless the outputs are (batch, K) and the target, () or (batch,), lies in 0 … K − 1 where known."""
    shape = getattr(outputs, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != batch:
        raise ValueError(
            f"Expected outputs of shape (B, K) = ({batch}, K), one score per class; got"
            f" {jax.tree.structure(outputs) if shape is None else shape}. For other outputs write the score yourself,"
            " a function x (B, …) → (B,), and pass it to the explainer."
        )
    if target.ndim == 1 and target.shape[0] != batch:
        raise ValueError(
            f"target has {target.shape[0]} entries for a batch of {batch}: pass one index, or one per example."
        )
    if isinstance(target, jax.core.Tracer):
        return
    values = np.unique(np.asarray(target))
    outside = values[(values < 0) | (values >= shape[1])]
    if outside.size:
        raise ValueError(
            f"target {', '.join(map(str, outside))} is out of range: the model has {shape[1]} outputs,"
            f" 0 … {shape[1] - 1}."
        )


def select(outputs: jax.Array, target: jax.Array) -> jax.Array:
    """outputs (B, K), target () or (B,) → (B,)."""
    index = jnp.broadcast_to(target, outputs.shape[:1])
    return jnp.take_along_axis(outputs, index[:, None], axis=1)[:, 0]


def prepare(f: ScoreFunction, x: jax.Array) -> tuple[ScoreFunction, jax.Array]:
    """`f` as a pytree that can be an argument of `jax.jit`, and `x` as an array, both checked.

    A plain Python function becomes static (its identity is the key of the compiled code, so define it once, not in a
    loop); a callable that is a pytree already, such as `score`'s, keeps its traced leaves.

    Raises ValueError for inputs that are not floating point and for a score that is not (B,).
    """
    x = as_inputs(x)
    if jax.tree_util.all_leaves([f]):
        f = Partial(f)
    if isinstance(f, Partial) and isinstance(f.func, Logit):
        f.func.check(*f.args, x)
        return f, x
    out = jax.eval_shape(_call, f, x)
    if not isinstance(out, jax.ShapeDtypeStruct) or out.shape != x.shape[:1]:
        got = out.shape if isinstance(out, jax.ShapeDtypeStruct) else jax.tree.structure(out)
        raise ValueError(
            f"The function to explain must map x of shape {x.shape} to one number per example, shape {x.shape[:1]};"
            f" got {got}. For a classifier use explain.score(model, variables, target)."
        )
    return f, x


def as_inputs(x: jax.Array) -> jax.Array:
    """`x` as a floating-point array (B, …); ValueError for anything else."""
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"Expected floating-point inputs, which have gradients; got {x.dtype}: cast to float, as in training."
        )
    if x.ndim == 0:
        raise ValueError("Expected a batch of inputs, shape (B, …); got a single number.")
    return x


def broadcast_to_inputs(name: str, value: Any, x: jax.Array) -> jax.Array:
    """`value` as an array of x's type and number of axes that broadcasts to x, with a batch axis of 1 or B."""
    shape = jnp.shape(value)
    try:
        fits = np.broadcast_shapes(shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name} must broadcast to the inputs' shape {x.shape}; got {shape}.")
    batch = x.shape[0] if len(shape) == x.ndim and shape[0] != 1 else 1
    return jnp.broadcast_to(jnp.asarray(value, x.dtype), (batch, *x.shape[1:]))


@jax.jit
def _call(f: ScoreFunction, x: jax.Array) -> jax.Array:
    return f(x)


def _takes_train(model: nn.Module) -> bool:
    return "train" in inspect.signature(type(model).__call__).parameters


def _holds_arrays(value: Any) -> bool:
    return any(isinstance(leaf, jax.Array | np.ndarray) for leaf in jax.tree.leaves(value))
