"""Scores of networks whose truth is about pixels: metrics of sums over images, with intervals by resampling images.

A `Meter` says what is summed for a batch and what becomes of the sums. Everything that is scored is summed image by
image first, so that one mechanism gives the number, its interval (neighbouring pixels are not independent, images are)
and the score of a single image.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

RESAMPLES = 500
# Images at a time, so that what the sums are made of stays small.
CHUNK = 8


class Meter(NamedTuple):
    """Metrics as mergeable sums.

    Attributes:
        sums: (outputs, batch) → sums, a pytree of arrays that are merged by addition.
        report: sums → numbers, a dict whose entries are numbers, dicts of numbers, or anything else, which is left out.
    """

    sums: Callable[[Any, Mapping[str, jax.Array]], Mapping[str, Any]]
    report: Callable[[Mapping[str, Any]], Mapping[str, Any]]


def by_image(meter: Meter, outputs: Any, batch: Mapping[str, np.ndarray]) -> Any:
    """The sums of every image on its own, each leaf (N, …).

    Args:
        meter: what is summed.
        outputs: raw outputs of the network, each leaf (N, …).
        batch: the entries of the records that the meter needs, each (N, …).
    """

    def one(outputs: Any, entries: Mapping[str, jax.Array]) -> Any:
        return meter.sums(*jax.tree.map(lambda leaf: leaf[None], (outputs, dict(entries))))

    some = jax.jit(jax.vmap(one))
    count = len(next(iter(batch.values())))
    parts = []
    for start in range(0, count, CHUNK):
        # The last images are repeated to fill a chunk: one program for all.
        chosen = np.minimum(np.arange(start, start + CHUNK), count - 1)
        found = some(*jax.tree.map(lambda leaf, i=chosen: jnp.asarray(leaf[i]), (outputs, dict(batch))))
        parts.append(jax.tree.map(lambda leaf, n=count - start: np.asarray(leaf)[:n], found))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def rows_of(sums: Any, report: Callable[[Any], Mapping[str, Any]], *, seed: int = 0) -> list[dict[str, Any]]:
    """Every number of a report with its 95 % interval, by bootstrap over images.

    Args:
        sums: image by image, each leaf (N, …).
        report: merged sums → numbers.
        seed: of the resampling, fixed so that the same outputs give the same intervals.
    """
    count = len(jax.tree.leaves(sums)[0])
    values = flat(report(merged(sums, np.ones(count))))
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    draws = [flat(report(merged(sums, row))) for row in weights]
    rows = []
    for name, value in values.items():
        drawn = np.array([draw.get(name, np.nan) for draw in draws], float)
        drawn = drawn[np.isfinite(drawn)]
        low, high = np.percentile(drawn, [2.5, 97.5]) if drawn.size else (np.nan, np.nan)
        rows.append(
            {
                "name": name,
                "value": value,
                "interval": [float(low), float(high)],
                "method": f"bootstrap 95 %, {RESAMPLES} resamples of images",
                "count": count,
            }
        )
    return rows


def merged(sums: Any, weights: np.ndarray) -> Any:
    """The sums over all images, each counted `weights` (N,) times, in float64."""
    return jax.tree.map(lambda leaf: np.tensordot(weights, np.asarray(leaf, np.float64), 1), sums)


def each(sums: Any, report: Callable[[Any], Mapping[str, Any]], name: str) -> np.ndarray:
    """One number of a report for every image on its own (N,); NaN where an image has none."""
    count = len(jax.tree.leaves(sums)[0])
    single = (flat(report(jax.tree.map(lambda leaf, i=i: leaf[i], sums))) for i in range(count))
    return np.array([values.get(name, np.nan) for values in single], float)


def flat(report: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a report: {"iou": {"nucleus": 0.8}} → {"iou nucleus": 0.8}; all else is left out."""
    found = {}
    for name, value in report.items():
        if isinstance(value, Mapping):
            found |= {f"{name} {inner}": number for inner, number in flat(value).items()}
        elif isinstance(value, int | float | np.number) and not isinstance(value, bool) and np.isfinite(value):
            found[name] = float(value)
    return found
