"""The same pure step on one device or on many.

`"jit"`: one program; on several devices the batch is split along a mesh axis and XLA adds what must be added.
`"pmap"`: classic data parallelism; the step runs once per device on its share and adds sums over the axis `"devices"`.
Both give the same numbers for the same global batch. (`jax.pmap` is in maintenance and built on `jit` today; it is kept
because many clusters' scripts are written for it.)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zoo.errors import UserError

AXIS = "devices"
Mode = Literal["jit", "pmap"]


@dataclass(frozen=True)
class Parallel:
    """A compiled function of (state, batch) and the placement that goes with it.

    Attributes:
        function: the compiled function.
        mode: `"jit"` or `"pmap"`.
        devices: the devices it runs on.
    """

    function: Callable[..., Any]
    mode: Mode
    devices: tuple[jax.Device, ...]

    def __call__(self, state: Any, batch: Any) -> tuple[Any, Any]:
        """Run on a placed state and a placed batch."""
        return self.function(state, batch)

    def place(self, state: Any) -> Any:
        """Copy a state of one device to all devices; the copy may be donated, the original stays."""
        if self.mode == "pmap":
            count = len(self.devices)
            stacked = jax.tree.map(lambda x: jax.numpy.broadcast_to(x, (count, *x.shape)), state)
            return jax.device_put(stacked, NamedSharding(self._mesh, PartitionSpec(AXIS)))
        # Copied first: over several devices `device_put` shares the first one's memory even with may_alias=False.
        return jax.tree.map(lambda x: jax.device_put(jax.numpy.copy(x), self._replicated), state)

    def split(self, batch: Any) -> Any:
        """Move a global batch of host arrays to the devices, each its share.

        Raises:
            UserError: when the batch size is not a multiple of the number of devices.
        """
        count = len(self.devices)
        for leaf in jax.tree.leaves(batch):
            if leaf.shape[0] % count:
                raise UserError(f"A batch of {leaf.shape[0]} cannot be shared by {count} devices: take a multiple.")
        if self.mode == "pmap":
            batch = jax.tree.map(lambda x: np.reshape(x, (count, x.shape[0] // count, *x.shape[1:])), batch)
        return jax.device_put(batch, NamedSharding(self._mesh, PartitionSpec(AXIS)))

    def fetch(self, state: Any) -> Any:
        """The state as the first device holds it, on that device alone; valid until the placed state is donated."""
        one = jax.tree.map(lambda x: x[0], state) if self.mode == "pmap" else state
        return jax.device_put(one, self.devices[0])

    @property
    def _mesh(self) -> Mesh:
        return Mesh(np.asarray(self.devices), (AXIS,))

    @property
    def _replicated(self) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec())


def parallelise(
    step: Callable[..., tuple[Any, Any]],
    *,
    mode: Mode = "jit",
    devices: Sequence[jax.Device] | None = None,
    donate: bool = True,
) -> Parallel:
    """Compile a step for one device or many.

    Args:
        step: pure (state, batch, *, axis_name=None) → (state, sums).
        mode: `"jit"` or `"pmap"`.
        devices: default: the first device under `jit`, all local devices under `pmap`.
        donate: let the step reuse the memory of the state it is given.

    Raises:
        UserError: an unknown mode.
    """
    if mode not in ("jit", "pmap"):
        raise UserError(f"mode must be 'jit' or 'pmap', got {mode!r}.")
    if devices is None:
        devices = jax.local_devices()[:1] if mode == "jit" else jax.local_devices()
    donated = (0,) if donate else ()
    if mode == "jit":
        return Parallel(jax.jit(step, donate_argnums=donated), mode, tuple(devices))

    def on_axis(state: Any, batch: Any) -> tuple[Any, Any]:
        return step(state, batch, axis_name=AXIS)

    mapped = jax.pmap(on_axis, axis_name=AXIS, devices=list(devices), donate_argnums=donated)

    def run(state: Any, batch: Any) -> tuple[Any, Any]:
        state, sums = mapped(state, batch)
        # Sums are already added over the devices: each holds the same.
        return state, jax.tree.map(lambda x: x[0], sums)

    return Parallel(run, mode, tuple(devices))
