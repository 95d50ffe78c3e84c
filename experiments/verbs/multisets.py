"""Which multisets each pool of points or neighbours tells apart, as a table and a figure.

A pool of numbers in no order is a function of a multiset. The maximum forgets how often each number is there; the mean,
and any attention whose scores depend on the numbers alone, keep only the shares; the sum keeps all there is, once the
numbers stand for features of their own, but of bare numbers no more than their sum. So what a network can count is
decided where it pools (Xu+19, https://arxiv.org/abs/1810.00826).
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from zoo.layers import POINT_POOLS, masked_attention
from zoo_experiments.verbs.figures import BLUE, GREY, NORMAL, VERMILION, new_figure

Multiset = tuple[float, ...]

# What the maximum confuses, what sum and mean do, what all but the sum do; and one multiset in two orders.
PAIRS: tuple[tuple[Multiset, Multiset], ...] = (
    ((1, 3), (1, 1, 3)),
    ((2, 2), (1, 3)),
    ((1, 3), (1, 1, 3, 3)),
    ((1, 3), (3, 1)),
)
# Whose neighbours or points are pooled so.
NETWORKS = {
    "sum": "GIN, deep sets",
    "mean": "GraphSAGE, ParticleNet",
    "max": "DGCNN",
    "attention": "GAT, without self-loops",
}
# Of dots: light enough for black numbers on them.
_COLOURS = ("#56B4E9", "#E69F00", "#CC79A7", "#F0E442", "#009E73", "0.8")
# Of single precision; numbers are of order one, and what differs does so by a tenth at least.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Comparison:
    """Two multisets and what each pool makes of them.

    Attributes:
        first: numbers, in any order.
        second: likewise.
        values: pool → its value of the first and of the second.
    """

    first: Multiset
    second: Multiset
    values: Mapping[str, tuple[float, float]]

    def told_by(self) -> set[str]:
        """The pools whose values differ by more than rounding."""
        return {name for name, (a, b) in self.values.items() if abs(a - b) > _ROUNDING}


def attention(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of (…, n, 1) weighed by the softmax of the numbers themselves, the simplest of learned scores: (…, 1)."""
    return masked_attention(x, x[..., 0], mask)


POOLS: Mapping[str, Callable[[jax.Array, jax.Array], jax.Array]] = {**POINT_POOLS, "attention": attention}


def compare(pairs: Sequence[tuple[Multiset, Multiset]] = PAIRS) -> list[Comparison]:
    """The values of all pools of each pair."""
    most = max(len(some) for pair in pairs for some in pair)
    numbers = np.zeros((len(pairs), 2, most, 1), np.float32)
    mask = np.zeros(numbers.shape[:-1], bool)
    for row, pair in enumerate(pairs):
        for side, some in enumerate(pair):
            numbers[row, side, : len(some), 0] = some
            mask[row, side, : len(some)] = True
    found = {name: np.asarray(pool(jnp.asarray(numbers), jnp.asarray(mask)))[..., 0] for name, pool in POOLS.items()}
    return [
        Comparison(*pair, {name: (float(values[row, 0]), float(values[row, 1])) for name, values in found.items()})
        for row, pair in enumerate(pairs)
    ]


def multisets(pairs: Sequence[tuple[Multiset, Multiset]] = PAIRS) -> Figure:
    """Pairs of multisets as coloured dots, and for each pool its two values and whether they tell the pair apart.

    Args:
        pairs: rows of the figure, of whole numbers that fit into a dot.
    """
    rows = compare(pairs)
    names = list(POOLS)
    symbols = sorted({number for pair in pairs for some in pair for number in some})
    most = max(len(some) for pair in pairs for some in pair)
    # Columns: the two multisets, as wide as the largest, then the pools.
    width, cell, step = 0.34 * most + 0.3, 1.7, 0.34
    starts = [2 * width + cell * k for k in range(len(names))]
    figure = new_figure(2 * width + cell * len(names) + 0.4, 0.62 * len(rows) + 1.0)
    axes = figure.add_subplot()
    axes.set_axis_off()
    for start, label in ((0, "multiset"), (width, "and another")):
        axes.text(start, -0.7, label, fontsize=NORMAL, ha="left", va="center")
    for start, name in zip(starts, names, strict=True):
        axes.text(start + cell / 2, -0.8, name, fontsize=NORMAL, ha="center", va="center", weight="bold")
        axes.text(start + cell / 2, -0.5, NETWORKS[name], fontsize=8, ha="center", va="center", color=GREY)
    for y, row in enumerate(rows):
        for start, some in ((0, row.first), (width, row.second)):
            for place, number in enumerate(some):
                at = (start + step * (place + 0.5), y)
                axes.scatter(*at, s=300, color=_COLOURS[symbols.index(number) % len(_COLOURS)], linewidths=0)
                axes.text(*at, f"{number:g}", fontsize=NORMAL, ha="center", va="center_baseline", color="black")
        told = row.told_by()
        for start, name in zip(starts, names, strict=True):
            first, second = (f"{value:.2f}".rstrip("0").rstrip(".") for value in row.values[name])
            apart = name in told
            text, colour = (f"{first} ≠ {second}  ✓", BLUE) if apart else (f"{first} = {second}  ✗", VERMILION)
            if sorted(row.first) == sorted(row.second):
                text, colour = f"{first} = {second}", GREY
            axes.text(start + cell / 2, y, text, fontsize=NORMAL, ha="center", va="center", color=colour)
        axes.axhline(y - 0.38 if y == 0 else y - 0.5, color="0.85", linewidth=0.8)
    axes.set_xlim(-0.1, starts[-1] + cell + 0.1)
    axes.set_ylim(len(rows) - 0.5, -1.0)
    figure.supxlabel(
        "✓ tells them apart, ✗ does not; grey: the same, in another order. Attention with the numbers as scores.",
        fontsize=8,
        color=GREY,
        ha="right",
        x=0.99,
    )
    return figure


def draw(out: Path) -> Path:
    """Write `multisets.png` and `.csv` (first, second, pool, their values, told_apart) into a folder.

    Returns:
        The figure's path.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / "multisets.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["first", "second", "pool", "of_first", "of_second", "told_apart"])
        for row in compare():
            sides = [" ".join(f"{number:g}" for number in some) for some in (row.first, row.second)]
            for name, values in row.values.items():
                writer.writerow([*sides, name, *(f"{v:.6g}" for v in values), int(name in row.told_by())])
    multisets().savefig(out / "multisets.png", dpi=130)
    return out / "multisets.png"
