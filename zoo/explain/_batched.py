"""Sums over perturbed copies of a batch, a chunk of copies at a time, so that memory does not grow with their number.

Why a Python loop over chunks and not `lax.scan`: on a CPU a convolution inside an XLA loop loses its fast path.
`integrated_gradients` with 64 steps of 8 images of 32×32×3, six 3×3 convolutions of 16–64 channels, JAX 0.10.2 on 2
shared CPU cores, in ms:

    copies per chunk                      1      4      8      16     64
    Python loop over a jitted function    533    501    498    593    640
    the same, unrolled in one jit         –      566    546    539    –
    lax.scan over the chunks              3046   2993   3004   3026   –

Copies are merged by `vmap`, which folds them into the batch axis of a convolution, as fast as reshaping by hand.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

# Inside the user's own jit the loop over chunks is part of one program: unrolled it is several times faster on a CPU
# (see above) but takes longer to compile, so that long loops become a scan.
_MAX_UNROLLED = 16


def fold(step: Callable, total: Any, items: tuple[np.ndarray, ...], *args: Any, chunk: int) -> Any:
    """`total` after `total = step(total, items[rows], valid, *args)` for consecutive chunks of rows.

    `items` are host arrays (N, …), one row per perturbed copy; `chunk` is the largest number of rows at once. The last
    chunk is filled up by repeating its last row; `valid` (rows,) is 1 for a true row and 0 for such a repetition.
    `step` is a jitted function that adds to `total` in a way that does not depend on how rows are grouped.
    """
    if chunk < 1:
        raise ValueError(
            f"chunk is the number of perturbed copies evaluated at once and must be at least 1; got {chunk}."
        )
    count = len(items[0])
    chunks = -(-count // chunk)
    size = -(-count // chunks)  # chunks of nearly equal size waste the fewest repetitions
    rows = np.arange(chunks * size).reshape(chunks, size)
    valid = (rows < count).astype(np.float32)
    rows = np.minimum(rows, count - 1)
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((total, args)))
    if traced and chunks > _MAX_UNROLLED:
        return jax.lax.scan(
            lambda total, row: (step(total, *row, *args), None), total, (tuple(item[rows] for item in items), valid)
        )[0]
    for row, flag in zip(rows, valid, strict=True):
        total = step(total, tuple(item[row] for item in items), flag, *args)
    return total
