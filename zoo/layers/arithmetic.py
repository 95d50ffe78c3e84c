"""Arithmetic of stacked windows: sizes, receptive fields and steps of convolutions and poolings, in closed form.

Dumoulin & Visin 2016, https://arxiv.org/abs/1603.07285 (sizes); Araujo+19, https://doi.org/10.23915/distill.00021
(receptive fields). Everything here is Python integers: nothing is computed on arrays, and all of it can be used to
choose shapes before anything is traced. What a network *really* sees is measured by `zoo.footprint`.

Along one axis a window of k pixels, dilation d, spans s = (k − 1)·d + 1 pixels. With step t and padding (a, b)

    size              n → ⌊(n + a + b − s) / t⌋ + 1
    receptive field   r → r + (s − 1)·j
    centre            c → c + ((s − 1) / 2 − a)·j
    jump              j → j·t

from r = j = 1 and c = 0 of the image itself. Axes do not mix, so that everything is done axis by axis.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Window:
    """A convolution or pooling layer, as far as its geometry goes.

    Attributes:
        kernel: side in pixels, one for all axes or one per axis.
        stride: step between outputs in pixels, likewise.
        pad: pixels added on both sides, likewise; `(before, after)` in place of an axis' number where they differ, as
            in `Window(4, pad=same_pads(4, ndim=2))`.
        dilation: distance in pixels between neighbouring entries of the kernel, likewise.
        groups: groups of channels that do not see each other; changes the parameters, not the geometry.

    Raises:
        ValueError: a number below 1 (a padding below 0), or fields that name different numbers of axes.
    """

    kernel: int | Sequence[int]
    stride: int | Sequence[int] = 1
    pad: int | Sequence[int | tuple[int, int]] = 0
    dilation: int | Sequence[int] = 1
    groups: int = 1

    def __post_init__(self) -> None:
        for name in ("kernel", "stride", "pad", "dilation"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("kernel", "stride", "dilation", "groups"):
            value = getattr(self, name)
            if min(value if isinstance(value, tuple) else (value,)) < 1:
                raise ValueError(f"{name} of a window must be at least 1, got {value}.")
        pads = self.pad if isinstance(self.pad, tuple) else (self.pad,)
        if min(n for pad in pads for n in _pair(pad)) < 0:
            raise ValueError(f"pad of a window must be at least 0, got {self.pad}.")
        _count_axes([self])


class _Axis(NamedTuple):
    kernel: int
    stride: int
    before: int
    after: int
    dilation: int

    @property
    def span(self) -> int:
        return (self.kernel - 1) * self.dilation + 1


def output_size(size: int | tuple[int, ...], layers: Sequence[Window]) -> int | tuple[int, ...]:
    """Size in pixels of what `layers`, one after the other, make of an image of `size`.

    >>> output_size(256, [Window(3, stride=2, pad=1), Window(4)])
    125

    Args:
        size: pixels of one axis, or of each.
        layers: first layer first.

    Returns:
        An integer for one axis given as an integer where all windows are the same on all axes, otherwise a tuple.

    Raises:
        ValueError: a window does not fit, with its span and the size it meets; or numbers of axes differ.
    """
    count = _count_axes(layers, size)
    axes = [_sizes(n, _along(layers, axis))[-1] for axis, n in enumerate(_spread(size, count or 1))]
    return tuple(axes) if count else axes[0]


def receptive_field(layers: Sequence[Window]) -> int | tuple[int, ...]:
    """Side in pixels of the smallest box that holds everything an output of `layers` can depend on.

    It has holes where a dilation or a stride exceeds what the kernels before it cover; `seen_pixels` lists them.
    """

    def field(layers: list[_Axis]) -> int:
        total, step = 1, 1
        for layer in layers:
            total, step = total + (layer.span - 1) * step, step * layer.stride
        return total

    return _per_axis(field, layers)


def jump(layers: Sequence[Window]) -> int | tuple[int, ...]:
    """Distance in input pixels between neighbouring outputs of `layers`: the total stride."""

    def step(layers: list[_Axis]) -> int:
        total = 1
        for layer in layers:
            total *= layer.stride
        return total

    return _per_axis(step, layers)


def centre(layers: Sequence[Window]) -> float | tuple[float, ...]:
    """Input pixel at the centre of the receptive field of output 0; that of output i is `centre + i · jump`.

    Halves lie between two pixels. 0 at every stride is the mark of padding by `same_pads` and odd kernels.
    """

    def start(layers: list[_Axis]) -> float:
        place, step = 0.0, 1
        for layer in layers:
            place, step = place + ((layer.span - 1) / 2 - layer.before) * step, step * layer.stride
        return place

    return _per_axis(start, layers)


def seen_pixels(
    position: int | tuple[int, ...], size: int | tuple[int, ...], layers: Sequence[Window]
) -> tuple[int, ...] | tuple[tuple[int, ...], ...]:
    """Input pixels that the output of `layers` at `position` can depend on; padding, being no pixel, is left out.

    Args:
        position: place of the output, one number per axis of `size`.
        size: pixels of the input, one axis or each.
        layers: first layer first.

    Returns:
        The pixels along the axis in increasing order; for several axes one such tuple per axis, and the pixels are all
        their combinations.

    Raises:
        ValueError: a window does not fit, or there is no output at `position`.
    """
    count = _count_axes(layers, size, position)
    found = [
        _seen(place, n, _along(layers, axis))
        for axis, (place, n) in enumerate(zip(_spread(position, count or 1), _spread(size, count or 1), strict=True))
    ]
    return tuple(found) if count else found[0]


def conv_parameters(window: Window, in_channels: int, features: int, *, ndim: int = 2, use_bias: bool = True) -> int:
    """Trainable parameters of a convolution: k^d · C_in / groups · C_out, and C_out for the bias.

    Args:
        window: its kernel and groups count.
        in_channels: channels of the input.
        features: channels of the output.
        ndim: number of spatial axes, where the window does not say.
        use_bias: whether there is a bias.

    Raises:
        ValueError: groups that do not divide the channels.
    """
    if in_channels % window.groups or features % window.groups:
        raise ValueError(
            f"groups must divide the channels: got groups={window.groups}, {in_channels} channels in, {features} out."
        )
    total = in_channels // window.groups * features
    for side in _spread(window.kernel, _count_axes([window]) or ndim):
        total *= side
    return total + features * use_bias


def _count_axes(layers: Sequence[Window], *others: int | tuple[int, ...]) -> int | None:
    """Number of axes that any of the arguments names, `None` where all are plain numbers."""
    values = [v for layer in layers for v in (layer.kernel, layer.stride, layer.pad, layer.dilation)] + list(others)
    counts = {len(value) for value in values if isinstance(value, tuple)}
    if len(counts) > 1:
        said = ", ".join(str(value) for value in values if isinstance(value, tuple))
        raise ValueError(f"Sizes, positions and windows must name the same number of axes, got {said}.")
    return counts.pop() if counts else None


def _per_axis(function: Callable[[list[_Axis]], Number], layers: Sequence[Window]) -> Number | tuple[Number, ...]:
    count = _count_axes(layers)
    values = [function(_along(layers, axis)) for axis in range(count or 1)]
    return tuple(values) if count else values[0]


def _along(layers: Sequence[Window], axis: int) -> list[_Axis]:
    return [
        _Axis(
            *(value[axis] if isinstance(value, tuple) else value for value in (layer.kernel, layer.stride)),
            *_pair(layer.pad[axis] if isinstance(layer.pad, tuple) else layer.pad),
            layer.dilation[axis] if isinstance(layer.dilation, tuple) else layer.dilation,
        )
        for layer in layers
    ]


def _spread(value: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * count


def _pair(pad: int | tuple[int, int]) -> tuple[int, int]:
    return pad if isinstance(pad, tuple) else (pad, pad)


def _sizes(size: int, layers: list[_Axis]) -> list[int]:
    """The size of the input, then of each layer's output."""
    sizes = [size]
    for number, layer in enumerate(layers, start=1):
        padded = sizes[-1] + layer.before + layer.after
        if layer.span > padded:
            raise ValueError(
                f"Layer {number} does not fit: its window spans {layer.span} pixels (kernel {layer.kernel}, dilation "
                f"{layer.dilation}), but its input has {padded} ({sizes[-1]} and padding {layer.before} + "
                f"{layer.after}; the image has {size}). Give a larger image or more padding, or leave the layer out."
            )
        sizes.append((padded - layer.span) // layer.stride + 1)
    return sizes


def _seen(position: int, size: int, layers: list[_Axis]) -> tuple[int, ...]:
    sizes = _sizes(size, layers)
    if not 0 <= position < sizes[-1]:
        raise ValueError(f"position must lie in 0 … {sizes[-1] - 1}, the outputs on an axis of {size}; got {position}.")
    places = {position}
    for layer, n in zip(reversed(layers), reversed(sizes[:-1]), strict=True):
        entries = [k * layer.dilation - layer.before for k in range(layer.kernel)]
        places = {p for place in places for e in entries if 0 <= (p := place * layer.stride + e) < n}
    return tuple(sorted(places))
