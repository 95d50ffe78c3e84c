"""Dynamic time warping and the nearest neighbour under it: the baseline that networks on time series must beat.

The distance of two series is the smallest sum of squared differences along a path that runs through both from end to
end and goes on in one, in the other or in both at every step (Sakoe & Chiba 1978); its root is taken, as the UCR
archive does. Many pairs are computed at once, one anti-diagonal of the table after the other.
"""

import numpy as np

from zoo.errors import UserError

# Numbers held for one anti-diagonal of all pairs that are computed at once: small enough for the processor's cache.
_AT_ONCE = 1 << 18


def distances(a: np.ndarray, b: np.ndarray, *, window: int | None = None) -> np.ndarray:
    """Distances by dynamic time warping of all series in `a` from all in `b`.

    Args:
      a: (N, T) or (N, T, C) series; C channels are warped together, their squared differences added.
      b: (M, S) or (M, S, C).
      window: steps by which the path may leave the diagonal (Sakoe & Chiba's band), at least |T − S|; 0 for series of
        one length is the Euclidean distance; without limit when None.

    Returns:
      (N, M) float64.

    Raises:
      UserError: shapes that do not fit, numbers that are not finite, or a window that no path fits into.
    """
    a, b = _checked("a", a), _checked("b", b)
    if a.shape[2] != b.shape[2]:
        raise UserError(f"Series should have as many channels in a as in b, got {a.shape[2]} and {b.shape[2]}.")
    apart = abs(a.shape[1] - b.shape[1])
    if window is not None and window < apart:
        raise UserError(
            f"The window should be at least {apart}, the difference of the lengths {a.shape[1]} and {b.shape[1]}, "
            f"got {window}. Give None for no limit."
        )
    rows, columns = np.divmod(np.arange(len(a) * len(b)), len(b))
    size = max(1, _AT_ONCE // (a.shape[1] * a.shape[2]))
    parts = [slice(start, start + size) for start in range(0, len(rows), size)]
    found = [_warped(a[rows[part]], b[columns[part]], window) for part in parts]
    return np.sqrt(np.concatenate(found)).reshape(len(a), len(b))


def nearest_neighbour(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, *, window: int | None = None
) -> np.ndarray:
    """Label of the training series that is nearest by dynamic time warping; of several equally near ones, the first.

    Args:
      train: (N, T) or (N, T, C).
      labels: (N,), of any type.
      test: (M, S) or (M, S, C).
      window: see `distances`.

    Returns:
      (M,) of the labels' type.

    Raises:
      UserError: as `distances`, or another number of labels than of training series.
    """
    labels = np.asarray(labels)
    if labels.shape != np.shape(train)[:1]:
        raise UserError(
            f"Every training series should have one label, got {np.shape(train)[:1]} series and labels of the shape "
            f"{labels.shape}."
        )
    return labels[distances(test, train, window=window).argmin(axis=1)]


def _checked(name: str, series: np.ndarray) -> np.ndarray:
    """(N, T, C) float64."""
    series = np.asarray(series, np.float64)
    if series.ndim not in (2, 3) or 0 in series.shape:
        raise UserError(f"{name} should be series (N, T) or (N, T, C), at least one, got the shape {series.shape}.")
    bad = np.argwhere(~np.isfinite(series))
    if len(bad):
        raise UserError(f"Series should be finite, got NaN or Inf in {name}, series {bad[0][0]}, step {bad[0][1]}.")
    return series[..., None] if series.ndim == 2 else series


def _warped(a: np.ndarray, b: np.ndarray, window: int | None) -> np.ndarray:
    """Squared distances (P,) of pairs (P, T, C) and (P, S, C).

    Entry i of a diagonal is the cell of step i of `a` and step d − i of `b`. Cells outside the table or the band stay
    infinite. Only the last two diagonals are kept, each with a cell of infinity before the first step.
    """
    pairs, length = a.shape[:2]
    other = b.shape[1]
    window = max(length, other) if window is None else window
    # Reversed, so that the steps of `b` along a diagonal ascend with those of `a`.
    b = b[:, ::-1]
    before = np.full((pairs, length + 1), np.inf)
    last = np.full((pairs, length + 1), np.inf)
    for d in range(length + other - 1):
        # |i − (d − i)| ≤ window, within both series.
        low = max(0, d - other + 1, (d - window + 1) // 2)
        high = min(d, length - 1, (d + window) // 2)
        now = np.full((pairs, length + 1), np.inf)
        cells = slice(low, high + 1)
        if low <= high:
            turned = slice(low + other - 1 - d, high + other - d)
            cost = ((a[:, cells] - b[:, turned]) ** 2).sum(2)
            if d:
                cost += np.minimum(np.minimum(last[:, cells], last[:, low + 1 : high + 2]), before[:, cells])
            now[:, low + 1 : high + 2] = cost
        before, last = last, now
    return last[:, length]
