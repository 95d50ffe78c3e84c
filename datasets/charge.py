"""Charge that particles leave along their paths, and how diffusion spreads it over pixels or voxels, in NumPy.

Lengths are in pixels; pixel k of an axis reaches from k − ½ to k + ½. A path is a set of points, one in the middle of
each step, (P, N) in N dimensions, with the charge of each.
"""

import math

import numpy as np
from scipy.special import ndtr

# Length of a step at most: spread by 0.3 pixels or more, charge along a path is even to two parts in a thousand.
STEP = 0.5


def straight(start: np.ndarray, direction: np.ndarray, length: float) -> np.ndarray:
    """Points (P, N) of a straight path.

    Args:
      start: (N,).
      direction: (N,), of any length but 0.
      length: of the path.
    """
    along = steps(length)
    return start + along[:, None] * direction / np.linalg.norm(direction)


def steps(length: float) -> np.ndarray:
    """Distances (P,) from the start to the middles of equal steps, none longer than `STEP`."""
    count = max(1, math.ceil(length / STEP))
    return (np.arange(count) + 0.5) * (length / count)


def direction(random: np.random.Generator, dimensions: int) -> np.ndarray:
    """Unit vector (dimensions,), all directions alike."""
    vector = random.normal(size=dimensions)
    return vector / np.linalg.norm(vector)


def deposit(points: np.ndarray, charge: np.ndarray, width: np.ndarray | float, size: int) -> np.ndarray:
    """Charge in each pixel of a square or cube, the integral of a Gaussian around each point.

    Args:
      points: (P, N).
      charge: (P,) of the points.
      width: standard deviation of the Gaussians, (P,) or one for all.
      size: pixels along a side; what is spread beyond is lost.

    Returns:
      (size,) * N.
    """
    edges = np.arange(size + 1) - 0.5
    scale = np.broadcast_to(width, charge.shape)[:, None, None]
    # Cut at six widths (1e-9): numbers near the smallest that there are take a hundred times as long to multiply.
    parts = np.diff(ndtr(np.clip((edges - points[..., None]) / scale, -6, 6)), axis=-1)
    weighted = charge[:, None] * parts[:, 0]
    rest = parts[:, 1]
    for axis in range(2, points.shape[1]):
        rest = (rest[:, :, None] * parts[:, axis][:, None, :]).reshape(len(points), -1)
    # Not a matrix product: for arrays this small its threads wait for each other longer than they work.
    return np.einsum("pi,pj->ij", weighted, rest).reshape((size,) * points.shape[1])


def dominant(layers: np.ndarray, threshold: float) -> np.ndarray:
    """Number of the layer that gives each pixel most, from 1, or 0 where that is not above the threshold.

    Args:
      layers: (K, …) what each of K ≥ 1 sources gives.
      threshold: of the strongest one's part.

    Returns:
      (…) int32.
    """
    strongest = layers.argmax(axis=0)
    found = np.take_along_axis(layers, strongest[None], axis=0)[0] > threshold
    return np.where(found, strongest + 1, 0).astype(np.int32)
