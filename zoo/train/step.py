"""One training step as a pure function (state, batch) → (state, sums).

The same function runs on one device and, given the name of a device axis, on each of many: sums of the loss, of
gradients, of statistics and of metrics are added over devices before anything is divided by a count.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from zoo.layers import example_keys
from zoo.train.state import State
from zoo.train.task import Batch, Sums, Task, mask_of

# Signature: (key, input) → input, of one example: an image (H, W, C), or what else the model takes. One key each.
AugmentFn = Callable[[jax.Array, Any], Any]
# Signature: (key, image (H, W, C), maps) → (image, maps), for what belongs to pixels: name → (H, W, …).
AugmentTogetherFn = Callable[[jax.Array, jax.Array, Mapping[str, jax.Array]], tuple[jax.Array, dict[str, jax.Array]]]
# Signature: images (B, …) → (V, B, …), the views whose outputs are averaged in evaluation.
ViewsFn = Callable[[jax.Array], jax.Array]
# Signature: outputs (V, B, …) of the views → (V, B, …), each as if its view had been the image itself.
UnviewFn = Callable[[jax.Array], jax.Array]


class UpdateFn(Protocol):
    """What `make_step` turns into a step: the gradient step of a task, or a GAN's own."""

    def __call__(self, state: State, batch: Batch, *, key: jax.Array, axis_name: str | None) -> tuple[State, Sums]:
        """One update with the randomness of `key`, on the device axis `axis_name` if there is one."""


def update_fn(
    model: nn.Module,
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    augment: AugmentFn | None = None,
    together: AugmentTogetherFn | None = None,
    accumulate: int = 1,
) -> UpdateFn:
    """Gradient descent on Σ value·weight / Σ weight of a task.

    Args:
        model: linen module; a field `axis_name` is set when the step runs on a device axis, and `mask` is passed when
            its `__call__` takes it.
        task: what to minimise and to count.
        optimizer: an Optax transformation.
        augment: applied to each input with its own key.
        together: instead of `augment`, applied to each input and the entries `task.maps` of the batch that are there.
        accumulate: number of parts whose gradients are added before the optimiser moves. Part m holds the examples
            m, m + accumulate, …: so are the parts the same however many devices share the batch.
    """
    takes_mask = "mask" in inspect.signature(type(model).__call__).parameters

    def sums_of(
        params: Any, model_state: Any, batch: Batch, key: jax.Array, axis_name: str | None
    ) -> tuple[jax.Array, tuple[Any, Sums]]:
        local = model.clone(axis_name=axis_name) if hasattr(model, "axis_name") else model
        inputs = task.inputs(batch)
        size = jax.tree.leaves(inputs)[0].shape[0]
        if augment is not None:
            keys = example_keys(jax.random.fold_in(key, 0), size, axis_name)
            inputs = jax.vmap(augment)(keys, inputs)
        if together is not None:
            keys = example_keys(jax.random.fold_in(key, 0), size, axis_name)
            maps = {name: batch[name] for name in task.maps if name in batch}
            inputs, maps = jax.vmap(together)(keys, inputs, maps)
            batch = {**batch, **maps}
        more = {"mask": mask_of(batch, size)} if takes_mask else {}
        outputs, model_state = local.apply(
            {"params": params, **model_state},
            inputs,
            train=True,
            rngs={"dropout": jax.random.fold_in(key, 1)},
            mutable=list(model_state),
            **more,
        )
        values, weights = task.loss(outputs, batch)
        sums = {"loss": jnp.sum(values * weights), "weight": jnp.sum(weights), **task.metrics(outputs, batch)}
        return sums["loss"], (model_state, jax.lax.stop_gradient(sums))

    def update(state: State, batch: Batch, *, key: jax.Array, axis_name: str | None) -> tuple[State, Sums]:
        grad = jax.grad(sums_of, has_aux=True)
        if accumulate == 1:
            grads, (model_state, sums) = grad(state.params, state.model_state, batch, key, axis_name)
        else:
            parts = jax.tree.map(lambda x: _strided_parts(x, accumulate), batch)

            def body(carry: Any, xs: Any) -> tuple[Any, None]:
                grads, model_state, sums = carry
                number, part = xs
                part_key = jax.random.fold_in(key, number)
                more_grads, (model_state, more_sums) = grad(state.params, model_state, part, part_key, axis_name)
                return (_add(grads, more_grads), model_state, _add(sums, more_sums)), None

            first = jax.tree.map(lambda x: x[0], parts)
            shapes = jax.eval_shape(lambda: grad(state.params, state.model_state, first, key, axis_name))
            zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (shapes[0], shapes[1][1]))
            # On a CPU a convolution inside a loop loses its fast path: there the loop is unrolled.
            unroll = jax.default_backend() == "cpu"
            carry = (zeros[0], state.model_state, zeros[1])
            (grads, model_state, sums), _ = jax.lax.scan(body, carry, (jnp.arange(accumulate), parts), unroll=unroll)
        if axis_name is not None:
            grads, sums = jax.lax.psum((grads, sums), axis_name)
        weight = jnp.where(sums["weight"] > 0, sums["weight"], 1)
        grads = jax.tree.map(lambda g: g / weight.astype(g.dtype), grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(params=params, model_state=model_state, opt_state=opt_state), sums

    return update


def make_step(update: UpdateFn, *, ema_decay: float | None = None) -> Callable[..., tuple[State, Sums]]:
    """Wrap an update into a step: key of the step, moving average, step count.

    Args:
        update: an `UpdateFn`.
        ema_decay: d in ema ← d·ema + (1 − d)·variables; early on min(d, (1 + t) / (10 + t)) is used, so that the start
            is forgotten. Needs a state made with `ema=True`.

    Returns:
        step(state, batch, *, axis_name=None) → (state, sums), pure.
    """

    def step(state: State, batch: Batch, *, axis_name: str | None = None) -> tuple[State, Sums]:
        key = jax.random.fold_in(state.key, state.step)
        new, sums = update(state, batch, key=key, axis_name=axis_name)
        if ema_decay is not None:
            if state.ema is None:
                raise ValueError("ema_decay needs a state made by create_state(…, ema=True).")
            t = state.step.astype(jnp.result_type(float))
            decay = jnp.minimum(ema_decay, (1 + t) / (10 + t))
            new = new.replace(
                ema=jax.tree.map(lambda e, v: (decay * e + (1 - decay) * v).astype(e.dtype), state.ema, new.variables)
            )
        return new.replace(step=state.step + 1), sums

    return step


def make_evaluation(
    model: nn.Module, task: Task, *, views: ViewsFn | None = None, unview: UnviewFn | None = None
) -> Callable[..., tuple[Any, Sums]]:
    """Evaluation of one batch as a pure function (variables, batch) → (outputs, sums).

    Args:
        model: linen module.
        task: what to count.
        views: views of the inputs over which the outputs are averaged (test-time augmentation).
        unview: for outputs that move with the input, turns those of each view back first.
    """

    def evaluate(variables: Any, batch: Batch, *, axis_name: str | None = None) -> tuple[Any, Sums]:
        inputs = task.inputs(batch)
        if views is None:
            outputs = model.apply(variables, inputs, train=False)
        else:
            stack = views(inputs)
            flat = model.apply(variables, stack.reshape(-1, *stack.shape[2:]), train=False)
            each = flat.reshape(*stack.shape[:2], *flat.shape[1:])
            outputs = jnp.mean(each if unview is None else unview(each), axis=0)
        sums: Sums = {}
        if task.truth in batch:
            values, weights = task.loss(outputs, batch)
            sums = {"loss": jnp.sum(values * weights), "weight": jnp.sum(weights), **task.metrics(outputs, batch)}
        return outputs, sums if axis_name is None else jax.lax.psum(sums, axis_name)

    return evaluate


def finalise(task: Task, sums: Sums) -> dict[str, Any]:
    """Numbers of a task from merged sums, with the mean `loss`."""
    weight = float(sums["weight"])
    return {"loss": float(sums["loss"]) / weight if weight else 0.0, **task.finalise(sums)}


def _strided_parts(x: jax.Array, parts: int) -> jax.Array:
    if x.shape[0] % parts:
        raise ValueError(f"A batch of {x.shape[0]} per device cannot be split into {parts} equal parts to accumulate.")
    return jnp.swapaxes(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1)


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)
