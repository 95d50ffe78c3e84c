"""Linear models and trees from scikit-learn on a table of features: the score that a network must beat (B8).

Each function fits several models on the training rows and applies them to others. What is chosen (the strength of a
penalty, when boosting stops) is chosen on parts of the training rows. The same seed gives the same numbers.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from zoo.errors import UserError
from zoo_experiments.verbs.checks import extra

# On tables of some thousand rows a second thread gains little on an idle machine, and costs tenfold on a busy one.
THREADS = 1
TREES = 300
# Inverse penalties of the logistic regression, and penalties of the ridge regression, of standardised features.
INVERSE_PENALTIES = (0.01, 0.1, 1.0)
PENALTIES = tuple(10.0**power for power in range(-3, 5))
FOLDS = 3
# No probability is smaller: trees give exactly 0 to what they have not seen, of which the logarithm is infinite.
FLOOR = 1e-4


def classify(
    train_x: np.ndarray, train_y: np.ndarray, x: np.ndarray, *, num_classes: int, seed: int
) -> dict[str, np.ndarray]:
    """Log-probabilities of the classes from logistic regression, a random forest and boosted trees.

    Args:
      train_x: (N, F) features to fit on.
      train_y: (N,) labels 0 … num_classes − 1; classes may be missing.
      x: (M, F) features to predict from.
      num_classes: K, at least 2.
      seed: of the folds and of the trees.

    Returns:
      Name of the model → log-probabilities (M, K); each row's exponentials sum to 1.

    Raises:
      UserError: shapes that do not fit, features that are not finite, labels out of range or of one class only, or
        scikit-learn is missing.
    """
    labels = np.asarray(train_y)
    _check_features(train_x, labels, x)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= num_classes:
        raise UserError(
            f"Labels should be whole numbers (N,) in 0 … {num_classes - 1}, got {labels.dtype} {labels.shape} from "
            f"{labels.min()} to {labels.max()}."
        )
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise UserError(f"Baselines need at least two classes to train on, got only class {classes[0]}.")
    predicted = {}
    with few_threads():
        for name, model in _classifiers(int(counts.min()), seed).items():
            probabilities = np.zeros((len(x), num_classes))
            probabilities[:, classes] = model.fit(train_x, labels).predict_proba(x)
            probabilities = np.maximum(probabilities, FLOOR)
            predicted[name] = np.log(probabilities / probabilities.sum(1, keepdims=True))
    return predicted


def regress(train_x: np.ndarray, train_y: np.ndarray, x: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Predictions of ridge regression and of a random forest.

    Args:
      train_x: (N, F) features to fit on.
      train_y: (N, D) or (N,) targets; (N,) counts as D = 1.
      x: (M, F) features to predict from.
      seed: of the trees.

    Returns:
      Name of the model → predictions (M, D).

    Raises:
      UserError: shapes that do not fit, numbers that are not finite, or scikit-learn is missing.
    """
    targets = np.asarray(train_y, np.float64)
    _check_features(train_x, targets, x)
    if targets.ndim not in (1, 2) or not np.isfinite(targets).all():
        raise UserError(f"Targets should be finite numbers (N, D), got the shape {targets.shape} or NaN or Inf.")
    targets = targets.reshape(len(targets), -1)
    # Centred and scaled, so that all targets count alike in the forest; a constant one stays as it is.
    mean, spread = targets.mean(0), targets.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    scaled = (targets - mean) / spread
    with few_threads():
        fitted = {name: model.fit(train_x, _flat(scaled)).predict(x) for name, model in _regressors(seed).items()}
    return {name: values.reshape(len(x), -1) * spread + mean for name, values in fitted.items()}


def _classifiers(rarest: int, seed: int) -> dict[str, Any]:
    """Models to fit, when the rarest class has so many rows: with one, nothing can be held out to choose on."""
    linear, ensemble, select = (sklearn(name) for name in ("linear_model", "ensemble", "model_selection"))
    logistic = linear.LogisticRegression(C=INVERSE_PENALTIES[1], max_iter=2000)
    if rarest > 1:
        folds = select.StratifiedKFold(min(FOLDS, rarest), shuffle=True, random_state=seed)
        grid = {"C": INVERSE_PENALTIES}
        logistic = select.GridSearchCV(logistic, grid, scoring="neg_log_loss", cv=folds, error_score="raise")
    return {
        "logistic regression": standardised(logistic),
        "random forest": ensemble.RandomForestClassifier(TREES, min_samples_leaf=2, n_jobs=THREADS, random_state=seed),
        "boosted trees": ensemble.HistGradientBoostingClassifier(
            learning_rate=0.05,
            max_iter=TREES if rarest > 1 else TREES // 3,
            early_stopping=rarest > 1,
            validation_fraction=0.2,
            random_state=seed,
        ),
    }


def _regressors(seed: int) -> dict[str, Any]:
    linear, ensemble = sklearn("linear_model"), sklearn("ensemble")
    return {
        "ridge regression": standardised(linear.RidgeCV(alphas=PENALTIES)),
        "random forest": ensemble.RandomForestRegressor(
            TREES, min_samples_leaf=2, max_features=1 / 3, n_jobs=THREADS, random_state=seed
        ),
    }


def standardised(model: Any) -> Any:
    """A model on features of mean 0 and standard deviation 1."""
    return sklearn("pipeline").make_pipeline(sklearn("preprocessing").StandardScaler(), model)


def _flat(targets: np.ndarray) -> np.ndarray:
    """(N,) for a single target: scikit-learn warns of a column."""
    return targets[:, 0] if targets.shape[1] == 1 else targets


def _check_features(train_x: np.ndarray, train_y: np.ndarray, x: np.ndarray) -> None:
    shapes = f"train_x {np.shape(train_x)}, train_y {np.shape(train_y)}, x {np.shape(x)}"
    if np.ndim(train_x) != 2 or np.ndim(x) != 2 or np.shape(train_x)[1] != np.shape(x)[1]:
        raise UserError(f"Baselines need tables (N, F) and (M, F) with the same features, got {shapes}.")
    if np.shape(train_y)[:1] != np.shape(train_x)[:1] or len(train_x) < 2:
        raise UserError(f"Baselines need one label or target for each of at least two rows, got {shapes}.")
    for name, values in (("train_x", train_x), ("x", x)):
        bad = np.argwhere(~np.isfinite(np.asarray(values, np.float64)))
        if len(bad):
            raise UserError(
                f"Features should be finite, got NaN or Inf in {name}, row {bad[0][0]}, column {bad[0][1]}."
            )


@contextmanager
def few_threads() -> Iterator[None]:
    """Few threads in BLAS and in boosting, which have no setting of their own."""
    sklearn("utils")
    with importlib.import_module("threadpoolctl").threadpool_limits(THREADS):
        yield


def sklearn(name: str) -> Any:
    """A module of scikit-learn, or an error that says how to get it."""
    return extra(f"sklearn.{name}", what="Baselines", package="scikit-learn", group="baselines")
