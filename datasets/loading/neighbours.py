"""Which points of a set are near each other: graphs of k nearest neighbours, or of all within a radius.

What `zoo.layers.k_nearest` and `zoo.layers.within_radius` find inside a compiled program is found here while records
are made, by a tree instead of the table of all distances: same distances, same order of ties, box included.
"""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import KDTree

from zoo_datasets.loading.records import DataError

Edges = tuple[np.ndarray, np.ndarray]
Box = float | Sequence[float] | np.ndarray


def minimum_image(difference: np.ndarray, box: Box | None) -> np.ndarray:
    """Differences of positions (…, D) by the shortest way through a periodic box, each in −L/2 … L/2.

    Args:
      difference: of positions.
      box: period L of all axes, or (D,) of each, infinite for an open axis; None if all are open.
    """
    if box is None:
        return difference
    box = np.asarray(box, np.float64)
    return difference - np.where(np.isfinite(box), box, 0) * np.round(difference / box)


def k_nearest(positions: np.ndarray, k: int, *, box: Box | None = None, include_self: bool = False) -> Edges:
    """Edges from the k nearest neighbours of each point to the point.

    Args:
      positions: (n, D), finite; in a periodic box any image of a point will do.
      k: neighbours of each point; of points equally far those of lower index come first.
      box: see `minimum_image`.
      include_self: whether a point, at distance zero, is a neighbour of itself.

    Returns:
      senders, receivers: (n · k,) int32, sorted by receiver and then by distance.

    Raises:
      DataError: more neighbours than there are points, positions that are not finite, or a box that is none.
    """
    positions, box = _checked(positions, box)
    size = len(positions)
    if not 1 <= k <= size - (not include_self):
        raise DataError(
            f"k should be in 1 … {size - (not include_self)}, the number of points to choose from "
            f"({size} points, the point itself {'included' if include_self else 'excluded'}); got {k}. "
            "Ask for fewer, or leave out sets with so few points."
        )
    tree, slack = _tree(positions, box)
    farthest = tree.query(tree.data, k=[k + (not include_self)])[0][:, 0]
    # The tree stops anywhere among points equally far: all of them are fetched, and sorted here.
    found = tree.query_ball_point(tree.data, farthest + slack)
    receivers = np.repeat(np.arange(size), [len(near) for near in found])
    senders = np.concatenate(found).astype(int)
    return _sorted(positions, senders, receivers, box, include_self=include_self, k=k)


def within_radius(
    positions: np.ndarray,
    radius: float,
    *,
    box: Box | None = None,
    include_self: bool = False,
    k: int | None = None,
) -> Edges:
    """Edges between all points that are no farther apart than a radius, once in each direction.

    Args:
      positions: (n, D), finite; in a periodic box any image of a point will do. No point at all is legal.
      radius: in the unit of the positions, at most half the box.
      box: see `minimum_image`.
      include_self: whether a point is a neighbour of itself.
      k: keep the k nearest of them only, by the rules of `k_nearest`; an edge may then lack its opposite.

    Returns:
      senders, receivers: (e,) int32, sorted by receiver and then by sender; with `k` by distance.

    Raises:
      DataError: a radius that is not positive or more than half the box, positions that are not finite, or a box that
        is none.
    """
    positions, box = _checked(positions, box)
    longest = np.inf if box is None else np.min(box) / 2
    if not 0 < radius <= longest or not np.isfinite(radius):
        raise DataError(
            f"radius should be positive, finite and at most {longest:g}, half the shortest side of the box, beyond "
            f"which two images of one point would be met; got {radius:g}."
        )
    if k is not None and k < 1:
        raise DataError(f"k should be at least 1, or None for all neighbours within the radius; got {k}.")
    if not len(positions):
        return np.zeros(0, np.int32), np.zeros(0, np.int32)
    tree, slack = _tree(positions, box)
    pairs = tree.query_pairs(radius + slack, output_type="ndarray").reshape(-1, 2)
    itself = np.arange(len(positions) if include_self else 0)
    senders = np.concatenate([pairs[:, 0], pairs[:, 1], itself])
    receivers = np.concatenate([pairs[:, 1], pairs[:, 0], itself])
    return _sorted(positions, senders, receivers, box, include_self=include_self, k=k, radius=radius)


def _sorted(
    positions: np.ndarray,
    senders: np.ndarray,
    receivers: np.ndarray,
    box: np.ndarray | None,
    *,
    include_self: bool,
    k: int | None,
    radius: float = np.inf,
) -> Edges:
    """Candidates cut to those meant, judged by distances of the positions as they came, and sorted."""
    apart = minimum_image(positions[senders] - positions[receivers], box)
    square = np.sum(np.square(apart), axis=-1)
    meant = (square <= radius**2) & (include_self | (senders != receivers))
    senders, receivers, square = senders[meant], receivers[meant], square[meant]
    order = np.lexsort((senders, receivers) if k is None else (senders, square, receivers))
    senders, receivers = senders[order], receivers[order]
    if k is not None:
        first = np.searchsorted(receivers, receivers)
        nearest = np.arange(len(receivers)) - first < k
        senders, receivers = senders[nearest], receivers[nearest]
    return senders.astype(np.int32), receivers.astype(np.int32)


def _tree(positions: np.ndarray, box: np.ndarray | None) -> tuple[KDTree, float]:
    """A tree of the points, inside the box, and a distance by which its own may be rounded otherwise than ours."""
    if box is not None:
        closed = np.isfinite(box)
        sides = np.where(closed, box, 0)
        wrapped = np.where(closed, np.mod(positions, np.where(closed, box, 1)), positions)
        # A remainder just below zero rounds up to the side itself, which the tree refuses.
        positions = np.where(closed & (wrapped >= sides), 0, wrapped)
    tree = KDTree(positions, boxsize=None if box is None else sides)
    return tree, 1e-9 * float(np.max(np.abs(positions), initial=0))


def _checked(positions: np.ndarray, box: Box | None) -> tuple[np.ndarray, np.ndarray | None]:
    positions = np.asarray(positions, np.float64)
    if positions.ndim != 2 or positions.shape[1] == 0:
        raise DataError(f"positions should be (n, D), one row for each point; got shape {positions.shape}.")
    bad = np.flatnonzero(~np.all(np.isfinite(positions), axis=1))
    if len(bad):
        raise DataError(
            f"positions should be finite; point {bad[0]} is at {positions[bad[0]].tolist()}, and {len(bad)} of "
            f"{len(positions)} points are not finite. Leave them out."
        )
    if box is None:
        return positions, None
    sides = np.asarray(box, np.float64)
    if sides.shape not in ((), (positions.shape[1],)) or not np.all(sides > 0):
        raise DataError(
            f"box should be one positive period or one for each of the {positions.shape[1]} axes, infinite for an open "
            f"one; got {box}."
        )
    return positions, np.broadcast_to(sides, positions.shape[1:])
