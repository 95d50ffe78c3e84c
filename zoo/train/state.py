"""The training state: everything a step reads and writes, as one pytree."""

from collections.abc import Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn


@flax.struct.dataclass
class State:
    """Parameters, running statistics, optimiser, key and step.

    Attributes:
        step: () int32, number of steps taken.
        params: trainable parameters.
        model_state: the other collections of the model, such as `batch_stats`.
        opt_state: state of the optimiser.
        key: typed key; the randomness of step t comes from `fold_in(key, t)`.
        ema: moving average of `variables`, or `None`.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    key: jax.Array
    ema: Any = None

    @property
    def variables(self) -> Mapping[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, **self.model_state}

    @property
    def averaged(self) -> Mapping[str, Any]:
        """The moving average where there is one, else `variables`: what to evaluate and to keep."""
        return self.variables if self.ema is None else self.ema


def create_state(
    model: nn.Module, inputs: Any, optimizer: optax.GradientTransformation, key: jax.Array, *, ema: bool = False
) -> State:
    """Initialise a model and its optimiser.

    Args:
        model: a linen module called as `model(inputs, train=…)`.
        inputs: an example of its input, with a batch axis; only the shapes matter.
        optimizer: an Optax transformation.
        key: typed key (`jax.random.key`), split between initialisation and training.
        ema: keep a moving average of the variables.
    """
    init_key, key = jax.random.split(key)

    def build(init_key: jax.Array, inputs: Any) -> tuple[Any, Any, Any]:
        variables = model.init(init_key, inputs)
        params = variables["params"]
        return params, {k: v for k, v in variables.items() if k != "params"}, optimizer.init(params)

    params, model_state, opt_state = jax.jit(build)(init_key, inputs)
    state = State(jnp.zeros((), jnp.int32), params, model_state, opt_state, key)
    return state.replace(ema=jax.tree.map(jnp.copy, state.variables)) if ema else state
