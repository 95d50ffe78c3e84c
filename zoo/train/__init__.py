"""Training: a state, a pure step, the devices it runs on, and the loop around it."""

from zoo.train.checkpoint import Checkpoints, Restored
from zoo.train.loop import Interrupted, Log, fit, read_log
from zoo.train.losses import balanced_weights, cross_entropy, huber
from zoo.train.metrics import (
    BINS,
    classification_report,
    classification_sums,
    expected_calibration_error,
    interval,
    regression_report,
    regression_sums,
)
from zoo.train.optimisers import OPTIMISERS, kernels_only, optimiser, warmup_cosine
from zoo.train.parallel import Parallel, parallelise
from zoo.train.progress import Progress
from zoo.train.state import State, create_state
from zoo.train.step import UpdateFn, finalise, make_evaluation, make_step, update_fn
from zoo.train.task import Task, classification, regression

__all__ = [
    "BINS",
    "OPTIMISERS",
    "Checkpoints",
    "Interrupted",
    "Log",
    "Parallel",
    "Progress",
    "Restored",
    "State",
    "Task",
    "UpdateFn",
    "balanced_weights",
    "classification",
    "classification_report",
    "classification_sums",
    "create_state",
    "cross_entropy",
    "expected_calibration_error",
    "finalise",
    "fit",
    "huber",
    "interval",
    "kernels_only",
    "make_evaluation",
    "make_step",
    "optimiser",
    "parallelise",
    "read_log",
    "regression",
    "regression_report",
    "regression_sums",
    "update_fn",
    "warmup_cosine",
]
