"""Convolutions that turn with the image: the groups C4 (quarter turns) and D4 (quarter turns and mirrorings).

Cohen & Welling 2016, https://arxiv.org/abs/1602.07576 (there p4 and p4m). Element number g = k + 4 m first mirrors
left-right if m = 1, then makes k quarter turns counter-clockwise, as `zoo.augment.d4` does; C4 is the elements 0 to 3.
Write L_g for this action on an image or on a kernel. Then

- a lifting convolution applies its kernel in every pose, y[h] = L_h w ⋆ x, one output per element h;
- a group convolution sums over the elements j of its input, z[h] = Σ_j L_h w[h⁻¹ j] ⋆ y[j];
- if the image is replaced by L_g x, a feature map y moves by the regular representation: (ρ(g) y)[h] = L_g y[g⁻¹ h]
  (`turn_fields`). Whatever acts alike on all elements — normalisation, rectifiers, pooling — keeps this, and the
  maximum or mean over h (`group_pool`) moves like an image.

Feature maps are (B, H, W, G, K), K fields over G = 4 or 8 elements. The kernels of all poses are the stored one with
its entries exchanged, no interpolation, so that both layers are one plain convolution with G·K output channels.
"""

import itertools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.layers.convolution import Padding, check_padding, convolve, he_normal
from zoo.layers.maximum import max_over
from zoo.layers.pooling import fold_pixels

Group = Literal["c4", "d4"]


def group_order(group: Group) -> int:
    """Number of elements: 4 of `"c4"`, 8 of `"d4"`.

    Raises:
        ValueError: another group.
    """
    if group not in ("c4", "d4"):
        raise ValueError(f"group must be 'c4' or 'd4', got {group!r}.")
    return 4 if group == "c4" else 8


def d4_product(first: int, second: int) -> int:
    """The element that acts as `second` followed by `first`: L_first L_second = L_product."""
    turns, mirrored = first % 4, first // 4
    # A mirroring reverses the sense of the turns that come before it.
    return (turns + (-1) ** mirrored * second) % 4 + 4 * (mirrored ^ second // 4)


def d4_inverse(element: int) -> int:
    """The element that undoes `element`; every mirroring undoes itself."""
    return element if element >= 4 else -element % 4


def turn(x: jax.Array, element: int, *, axes: tuple[int, int] = (1, 2)) -> jax.Array:
    """L_g: mirror `x` left-right if `element` is 4 or more, then turn it by `element` % 4 quarters counter-clockwise.

    Args:
        x: (B, H, W, …), or anything whose rows and columns are `axes`; quarter turns exchange H and W.
        element: 0 to 7.
        axes: rows and columns.
    """
    x = jnp.flip(x, axes[1]) if element >= 4 else x
    return jnp.rot90(x, element % 4, axes)


def turn_fields(x: jax.Array, element: int) -> jax.Array:
    """ρ(g): the regular representation of C4 or D4 on feature maps (B, H, W, G, K), (ρ(g) y)[h] = L_g y[g⁻¹ h]."""
    order = _order_of(x)
    back = d4_inverse(element)
    return turn(x, element)[:, :, :, jnp.array([d4_product(back, h) for h in range(order)])]


def lifted_kernel(kernel: jax.Array, group: Group) -> jax.Array:
    """The kernel in every pose: (k, k, C, K) → (k, k, C, G·K), output channel h·K + d being field d at element h."""
    poses = [turn(kernel, h, axes=(0, 1)) for h in range(group_order(group))]
    return jnp.concatenate(poses, axis=-1)


def group_kernel(kernel: jax.Array, group: Group) -> jax.Array:
    """The bank of plain kernels of a group convolution: (k, k, G, C, K) → (k, k, G·C, G·K).

    From input channel j·C + c to output channel h·K + d stands L_h w[h⁻¹ j, c, d].
    """
    side, _, order, inputs, outputs = kernel.shape
    bank = kernel.reshape(-1, inputs, outputs)[_group_entries(side, group)]
    return bank.transpose(0, 1, 2, 4, 3, 5).reshape(side, side, order * inputs, order * outputs)


def _group_entries(side: int, group: Group) -> np.ndarray:
    """Where entry (row, column, j, h) of the bank stands in the stored kernel (k, k, G), flattened."""
    order = group_order(group)
    stored = np.arange(side * side * order).reshape(side, side, order)
    poses = []
    for h in range(order):
        posed = np.rot90(stored[:, ::-1] if h >= 4 else stored, h % 4)
        poses.append(posed[:, :, [d4_product(d4_inverse(h), j) for j in range(order)]])
    return np.stack(poses, axis=-1)


class _PosedConv(nn.Module):
    features: int
    group: Group
    kernel: int = 3
    stride: int = 1
    padding: Padding = "zero"
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Callable[..., jax.Array] = he_normal

    def _check(self) -> None:
        check_padding(self.padding)
        if self.kernel % 2 == 0:
            raise ValueError(f"A kernel must have a centre to turn about: expected an odd side, got {self.kernel}.")

    def _convolve(self, inputs: jax.Array, kernel: jax.Array, expand: Callable[..., jax.Array]) -> jax.Array:
        """Convolve (B, H, W, C) with the expanded kernel and part the channels: (B, H', W', G, K)."""
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype) if self.use_bias else None
        inputs, kernel, bias = nn.dtypes.promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        outputs = convolve(inputs, expand(kernel, self.group), stride=self.stride, padding=self.padding)
        outputs = outputs.reshape(*outputs.shape[:3], group_order(self.group), self.features)
        return outputs if bias is None else outputs + bias.reshape(1, 1, 1, 1, -1)


class LiftingConv(_PosedConv):
    """Convolution of an image (B, H, W, C) with K kernels in all poses: (B, H', W', G, K).

    The stored kernel is (f·k, f·k, C, K), the bias (K,). Turning the image turns the output by `turn_fields`, exactly
    if `stride` divides side / f − 1, with either padding.

    Attributes:
        features: number of fields K.
        group: `"c4"` or `"d4"`.
        kernel: side of the kernels in blocks, odd.
        stride: step between outputs in blocks.
        padding: `"zero"` or `"circular"`.
        fold: side f of the blocks in pixels; 1 for pixels. The sides of the image must be multiples of it. The same
            as `fold_pixels` before a plain convolution, but kernels turn pixel by pixel.
    """

    fold: int = 1

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        self._check()
        if inputs.ndim != 4:
            raise ValueError(f"LiftingConv takes images (B, H, W, C); got shape {tuple(inputs.shape)}.")
        side = self.fold * self.kernel
        shape = (side, side, inputs.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        return self._convolve(fold_pixels(inputs, self.fold), kernel, self._folded_kernel)

    def _folded_kernel(self, kernel: jax.Array, group: Group) -> jax.Array:
        """The kernel in every pose, its pixels moved into channels as `fold_pixels` moves those of the image."""
        poses = lifted_kernel(kernel, group)
        shape = (self.kernel, self.fold, self.kernel, self.fold, *poses.shape[2:])
        poses = poses.reshape(shape).transpose(0, 2, 1, 3, 4, 5)
        return poses.reshape(self.kernel, self.kernel, -1, poses.shape[-1])


class GroupConv(_PosedConv):
    """Convolution over positions and poses of feature maps (B, H, W, G, C): (B, H', W', G, K).

    The stored kernel is (k, k, G, C, K), the bias (K,). Commutes with `turn_fields`, exactly if `stride` divides
    side − 1, with either padding.

    Attributes:
        features: number of fields K.
        group: `"c4"` or `"d4"`.
        kernel: side of the kernels in pixels, odd.
        stride: step between outputs in pixels.
        padding: `"zero"` or `"circular"`.
    """

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        self._check()
        order = group_order(self.group)
        if inputs.ndim != 5 or inputs.shape[3] != order:
            raise ValueError(
                f"GroupConv over {self.group!r} takes feature maps (B, H, W, {order}, C); got shape "
                f"{tuple(inputs.shape)}: lift an image by LiftingConv first."
            )
        shape = (self.kernel, self.kernel, order, inputs.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        return self._convolve(merge_fields(inputs), kernel, group_kernel)


def merge_fields(x: jax.Array) -> jax.Array:
    """(B, H, W, G, K) → (B, H, W, G·K), channel h·K + c being field c at element h."""
    return x.reshape(*x.shape[:3], -1)


def split_fields(x: jax.Array, group: Group) -> jax.Array:
    """(B, H, W, G·K) → (B, H, W, G, K), the inverse of `merge_fields`."""
    return x.reshape(*x.shape[:3], group_order(group), -1)


def group_pool(x: jax.Array, *, mode: str = "max") -> jax.Array:
    """Maximum or mean over the elements: (B, H, W, G, K) → (B, H, W, K), which moves like an image with K channels.

    Elements that tie share the gradient of the maximum as in `max_over`.

    Raises:
        ValueError: `mode` is neither `"max"` nor `"mean"`.
    """
    _order_of(x)
    if mode not in ("max", "mean"):
        raise ValueError(f"group_pool must be 'max' or 'mean', got {mode!r}.")
    return max_over(x, axis=3) if mode == "max" else jnp.mean(x, axis=3)


def check_exact_side(name: str, sizes: tuple[int, ...], *, step: int, rest: int = 0) -> None:
    """Refuse images on which a network that reduces its input by `step` does not turn exactly.

    Windows of 2×2 tile a side, and the tiling is its own mirror image, if the side is even; every second pixel of a
    line is, if the first and the last are among them, so if the side is odd.

    Args:
        name: the network, for the message.
        sizes: height and width in pixels.
        step: product of all strides.
        rest: 0 for windows side by side, the side of a pixel or block for every second one of them.

    Raises:
        ValueError: the image is not square, or its side is not a multiple of `step` and `rest` more.
    """
    height, width = sizes
    if height == width and height % step == rest % step:
        return
    known = "a multiple" if rest == 0 else f"{rest} more than a multiple"
    low = [max(n - (n - rest) % step, step + rest) for n in sizes]
    near = sorted(set(itertools.chain(low, (n + (rest - n) % step for n in sizes))))
    raise ValueError(
        f"{name} is exact on square images whose side is {known} of {step}; got {(height, width)}: nearest are "
        f"{' and '.join(map(str, near))}. Crop or pad to one of them, or give strict=False to run without exactness."
    )


def _order_of(x: jax.Array) -> int:
    if x.ndim != 5 or x.shape[3] not in (4, 8):
        raise ValueError(f"Feature maps on a group are (B, H, W, G, K) with G = 4 or 8; got shape {tuple(x.shape)}.")
    return x.shape[3]
