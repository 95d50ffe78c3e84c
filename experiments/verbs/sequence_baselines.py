"""Baselines of sequences: hand features of light curves, nearest neighbours, going on straight, counted characters.

Each gives what a network's raw outputs would be, for every split but the training one, so that the same scores apply.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from zoo import train
from zoo.errors import UserError
from zoo_datasets import bouncing_ball
from zoo_datasets.loading.records import ArraySource
from zoo_experiments.verbs.baselines import FLOOR
from zoo_experiments.verbs.dtw import nearest_neighbour
from zoo_experiments.verbs.experiment import Setup
from zoo_experiments.verbs.light_curve_features import light_curve_table

# Characters before the one to be predicted that are looked at: none … so many.
ORDERS = 5
# Fields that hold a redshift; the first of them that the network is given is a feature too.
REDSHIFTS = ("host_photoz", "redshift")
# Metrics of a model that names a class and gives no probability.
OF_LABELS = ("accuracy", "recall", "balanced_accuracy")

# Model → split → predictions.
Predicted = dict[str, dict[str, np.ndarray]]


def light_curves(source: ArraySource, added: tuple[str, ...]) -> np.ndarray:
    """Features (N, F) of light curves in the units of the data, with a redshift where the network has one.

    Args:
        source: records as the data set has them, not compressed.
        added: fields that the network is given beside every step.

    Raises:
        UserError: records that are no light curves.
    """
    redshift = next((name for name in REDSHIFTS if name in added), None)
    return light_curve_table(source.arrays, redshift=redshift)[0]


def neighbours(made: Setup) -> Predicted:
    """Class of the nearest training sequence by Euclidean distance, `euclid`, and by dynamic time warping, `dtw`.

    There are no probabilities: log-probabilities (N, K) are those of a class that is as good as certain, all others
    having `FLOOR`. Only what is counted by the predicted class means anything, `OF_LABELS`.

    Raises:
        UserError: anything but one class for each sequence of numbers, or sequences of different lengths.
    """
    lengths = np.concatenate([source.arrays["length"] for source in made.data.values()])
    if made.outputs.steps or made.outputs.targets or len(made.shape) != 2 or (lengths != made.shape[0]).any():
        raise UserError(
            "The baseline nearest_neighbour is for classes of sequences of numbers, all as long as their array; these "
            f"have {_told(made)}, lengths {lengths.min()} … {lengths.max()} of {made.shape[0]}."
        )
    known, classes = made.data["train"].arrays, len(made.class_names)
    certain = np.where(np.eye(classes) > 0, 1.0, FLOOR)
    certain = np.log(certain / certain.sum(1, keepdims=True))
    return {
        name: {
            split: certain[
                nearest_neighbour(known["sequence"], known["label"], source.arrays["sequence"], window=window)
            ]
            for split, source in _others(made)
        }
        for name, window in (("euclid", 0), ("dtw", None))
    }


def straight_line(made: Setup) -> Predicted:
    """The next place of a ball: where it was seen last, and straight on through the last two places, off the walls.

    Of the first step, before which there is none, both say the place itself. In units of the network's outputs.

    Raises:
        UserError: other data than places x and y with the next ones as targets.
    """
    names, expected = tuple(made.outputs.targets), tuple(bouncing_ball.TARGETS)
    if names != expected or not made.outputs.steps or made.shape[1:] != (len(bouncing_ball.CHANNELS),):
        raise UserError(
            f"The baseline straight_line is for places x, y of a ball at every step, with the targets "
            f"{', '.join(expected)}; these are sequences {made.shape} with {_told(made)}."
        )
    centre, scale = np.asarray(made.outputs.centre), np.asarray(made.outputs.scale)
    found: Predicted = {"staying put": {}, "straight line": {}}
    for split, source in _others(made):
        places = np.asarray(source.arrays["sequence"], np.float64)
        further = places.copy()
        further[:, 1:] = bouncing_ball.reflected(2 * places[:, 1:] - places[:, :-1])[0]
        for name, predicted in zip(found, (places, further), strict=True):
            found[name][split] = ((predicted - centre) / scale).astype(np.float32)
    return found


def characters_before(made: Setup, orders: int = ORDERS) -> Predicted:
    """The next symbol from counts of what followed the last 0 … `orders` ones in the training sequences.

    Large vocabularies have fewer orders.

    Smoothed after Witten and Bell (1991, https://doi.org/10.1109/18.87000, method C): symbol s after a context that
    came n times with d different followers has (count of s + d · what one symbol less says) / (n + d); below no context
    all symbols are equally likely. Where a sequence has fewer symbols yet, those it has are the context.

    Returns:
        "{order} characters before" → split → log-probabilities (N, T, K) float32.

    Raises:
        UserError: other data than symbols with a class for every step.
    """
    if len(made.shape) != 1 or not made.outputs.steps or made.outputs.targets:
        raise UserError(
            "The baseline characters_before is for sequences of symbols of which every step has a class; these are "
            f"sequences {made.shape} with {_told(made)}."
        )
    classes, base = len(made.class_names), len(made.vocabulary)
    arrays = made.data["train"].arrays
    counted = np.asarray(train.counted_steps(arrays, made.shape[0])) > 0
    # A context is kept as one number of 63 bits.
    orders = min(orders, int(63 / math.log2(max(base, 2))))
    found: Predicted = {}
    for split, source in _others(made):
        smaller = np.full((*source.arrays["sequence"].shape, classes), 1 / classes)
        for order in range(orders + 1):
            known, asked = (
                _contexts(values, order, base) for values in (arrays["sequence"], source.arrays["sequence"])
            )
            rows, place = np.unique(asked[asked >= 0], return_inverse=True)
            there = counted & np.isin(known, rows)
            cells = np.searchsorted(rows, known[there]) * classes + arrays["label"][there]
            counts = np.bincount(cells, minlength=len(rows) * classes).reshape(len(rows), classes)[place]
            kinds = (counts > 0).sum(-1, keepdims=True)
            total = counts.sum(-1, keepdims=True) + kinds
            longer = asked >= 0
            p = smaller.copy()
            # A context that never came says nothing.
            p[longer] = np.where(total > 0, (counts + kinds * smaller[longer]) / np.maximum(total, 1), smaller[longer])
            found.setdefault(f"{order} characters before", {})[split] = np.log(p).astype(np.float32)
            smaller = p
    return found


def _contexts(symbols: np.ndarray, order: int, base: int) -> np.ndarray:
    """The last `order` symbols up to each step as one number (N, T) int64; −1 where there are fewer."""
    found = np.zeros(symbols.shape, np.int64)
    for back in range(order):
        shifted = np.zeros(symbols.shape, np.int64)
        shifted[:, back:] = symbols[:, : symbols.shape[1] - back]
        found += shifted * base**back
    found[:, : max(order - 1, 0)] = -1
    return found


def _others(made: Setup) -> Iterator[tuple[str, ArraySource]]:
    return ((split, source) for split, source in made.data.items() if split != "train")


def _told(made: Setup) -> str:
    what = "targets" if made.outputs.targets else "classes"
    return f"{what} of {'every step' if made.outputs.steps else 'the whole'}"


# What `Experiment.baseline` may name for sequences, beside "light_curve_features" and fields of the data.
BASELINES: Mapping[str, Callable[[Setup], Predicted]] = {
    "nearest_neighbour": neighbours,
    "straight_line": straight_line,
    "characters_before": characters_before,
}
