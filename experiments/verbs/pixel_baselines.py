"""Linear models and boosted trees on features of single pixels and their surroundings: what a dense network must beat.

Each pixel is described by its value and by the image smoothed, its gradient and its curvature at a few scales — the
features of trainable segmentation (Sommer+11, ilastik, https://doi.org/10.1109/ISBI.2011.5872394) — and judged alone.
Nothing but the training images is used to fit; the same seed gives the same numbers.
"""

from typing import Any

import numpy as np
from scipy import ndimage

from zoo_experiments.verbs.baselines import FLOOR, few_threads, sklearn, standardised

# Gaussian scales in pixels.
SMOOTHED = (1.0, 2.0, 4.0)
SHAPED = (1.0, 2.0)
# Training pixels of each class, or altogether for numbers: more changes little.
SAMPLED = 20_000
PENALTY = 1.0
ITERATIONS = 100


def pixel_features(images: np.ndarray) -> np.ndarray:
    """Features of every pixel: the value, smoothed values, size of the gradient, and Laplacian, channel by channel.

    Args:
        images: (N, …, C), two or three spatial axes.

    Returns:
        (N, …, 8·C) float32.
    """
    columns = []
    for c in range(images.shape[-1]):
        plane = np.asarray(images[..., c], np.float32)
        columns.append(plane)
        for function, scales in (
            (ndimage.gaussian_filter, SMOOTHED),
            (ndimage.gaussian_gradient_magnitude, SHAPED),
            (ndimage.gaussian_laplace, SHAPED),
        ):
            columns += [np.stack([function(one, scale) for one in plane]) for scale in scales]
    return np.stack(columns, axis=-1)


def classify_pixels(
    images: np.ndarray, labels: np.ndarray, others: np.ndarray, *, num_classes: int, valid: np.ndarray | None, seed: int
) -> dict[str, np.ndarray]:
    """Log-probabilities of every pixel's classes from logistic regression and boosted trees.

    They are fitted on equally many pixels of each class, weighted as the classes are.

    Args:
        images: (N, …, C) to fit on.
        labels: (N, …) classes of their pixels.
        others: (M, …, C) to predict for.
        num_classes: K; classes may be missing.
        valid: (N, …), 1 where a pixel may be used.
        seed: of the choice of pixels and of the trees.

    Returns:
        Model → (M, …, K).
    """
    linear, ensemble = (sklearn(name) for name in ("linear_model", "ensemble"))
    rng = np.random.default_rng(seed)
    usable = np.ones(labels.shape, bool) if valid is None else valid > 0
    chosen, weights = [], []
    for k in np.unique(labels[usable]):
        members = np.flatnonzero((labels == k).ravel() & usable.ravel())
        some = rng.choice(members, min(SAMPLED, members.size), replace=False)
        chosen.append(some)
        weights.append(np.full(some.size, members.size / some.size))
    rows, y = np.concatenate(chosen), labels.ravel()
    x = pixel_features(images).reshape(labels.size, -1)[rows]
    weight = np.concatenate(weights) / np.mean(np.concatenate(weights))
    models = {
        "logistic regression": standardised(linear.LogisticRegression(C=PENALTY, max_iter=1000)),
        "boosted trees": ensemble.HistGradientBoostingClassifier(
            max_iter=ITERATIONS, early_stopping=False, random_state=seed
        ),
    }
    found = {}
    for name, model in models.items():
        last = "logisticregression__sample_weight" if name == "logistic regression" else "sample_weight"
        with few_threads():
            model.fit(x, y[rows], **{last: weight})
            found[name] = _predicted(model, others, num_classes)
    return found


def regress_pixels(
    images: np.ndarray, targets: np.ndarray, others: np.ndarray, *, valid: np.ndarray | None, seed: int
) -> dict[str, np.ndarray]:
    """Predictions of every pixel's numbers from ridge regression and boosted trees.

    Args:
        images: (N, …, C) to fit on.
        targets: (N, …, D) numbers of their pixels.
        others: (M, …, C) to predict for.
        valid: (N, …), 1 where a pixel may be used.
        seed: of the choice of pixels and of the trees.

    Returns:
        Model → (M, …, D).
    """
    linear, ensemble = (sklearn(name) for name in ("linear_model", "ensemble"))
    rng = np.random.default_rng(seed)
    usable = np.arange(targets[..., 0].size) if valid is None else np.flatnonzero(valid.ravel() > 0)
    rows = rng.choice(usable, min(5 * SAMPLED, usable.size), replace=False)
    x = pixel_features(images).reshape(targets[..., 0].size, -1)[rows]
    y = targets.reshape(-1, targets.shape[-1])[rows]
    other = pixel_features(others)
    flat = other.reshape(-1, other.shape[-1])
    ridge = standardised(linear.Ridge(alpha=PENALTY))
    tree = ensemble.HistGradientBoostingRegressor(max_iter=ITERATIONS, early_stopping=False, random_state=seed)
    shape = (*others.shape[:-1], targets.shape[-1])
    with few_threads():
        return {
            "ridge regression": ridge.fit(x, y).predict(flat).reshape(shape),
            "boosted trees": np.stack([tree.fit(x, one).predict(flat) for one in y.T], axis=-1).reshape(shape),
        }


def _predicted(model: Any, images: np.ndarray, num_classes: int) -> np.ndarray:
    x = pixel_features(images)
    p = model.predict_proba(x.reshape(-1, x.shape[-1]))
    every = np.full((len(p), num_classes), FLOOR, np.float32)
    every[:, model.classes_] = np.maximum(p, FLOOR)
    return np.log(every / every.sum(1, keepdims=True)).reshape(*images.shape[:-1], num_classes)
