"""Training: a state, a pure step, the devices it runs on, and the loop around it."""

from zoo.train.boundary import boundaries, boundary_f1, boundary_report, boundary_sums
from zoo.train.checkpoint import Checkpoints, Restored
from zoo.train.dense import DENSE_LOSSES, DenseLoss, maps, masks, segmentation
from zoo.train.dense_metrics import (
    average_precision,
    confusion_by_image,
    mask_report,
    mask_sums,
    ratio_interval,
    ratio_moments,
    segmentation_report,
    segmentation_sums,
)
from zoo.train.joint import joint
from zoo.train.loop import Interrupted, Log, fit, read_log
from zoo.train.losses import (
    LOG_VARIANCE_FLOOR,
    balanced_weights,
    binary_cross_entropy,
    binary_focal,
    binary_soft_dice,
    cross_entropy,
    focal,
    gaussian_nll,
    huber,
    soft_dice,
)
from zoo.train.map_metrics import map_report, map_sums
from zoo.train.metrics import (
    BINS,
    classification_report,
    classification_sums,
    expected_calibration_error,
    interval,
    regression_report,
    regression_sums,
)
from zoo.train.objects import (
    IOU_THRESHOLDS,
    Matches,
    components,
    flux_errors,
    flux_report,
    match_objects,
    object_counts,
    object_report,
)
from zoo.train.optimisers import OPTIMISERS, kernels_only, optimiser, warmup_cosine
from zoo.train.parallel import Parallel, parallelise
from zoo.train.progress import Progress
from zoo.train.rows import counted_rows, graphs_of, on_rows, points_of
from zoo.train.sequences import counted_steps, on_sequences, sequence_of
from zoo.train.spectra import power_spectra, shell_modes, spectrum_report, spectrum_sums
from zoo.train.state import State, create_state
from zoo.train.step import UpdateFn, finalise, make_evaluation, make_step, update_fn
from zoo.train.task import Task, classification, regression

__all__ = [
    "BINS",
    "DENSE_LOSSES",
    "IOU_THRESHOLDS",
    "LOG_VARIANCE_FLOOR",
    "OPTIMISERS",
    "Checkpoints",
    "DenseLoss",
    "Interrupted",
    "Log",
    "Matches",
    "Parallel",
    "Progress",
    "Restored",
    "State",
    "Task",
    "UpdateFn",
    "average_precision",
    "balanced_weights",
    "binary_cross_entropy",
    "binary_focal",
    "binary_soft_dice",
    "boundaries",
    "boundary_f1",
    "boundary_report",
    "boundary_sums",
    "classification",
    "classification_report",
    "classification_sums",
    "components",
    "confusion_by_image",
    "counted_rows",
    "counted_steps",
    "create_state",
    "cross_entropy",
    "expected_calibration_error",
    "finalise",
    "fit",
    "flux_errors",
    "flux_report",
    "focal",
    "gaussian_nll",
    "graphs_of",
    "huber",
    "interval",
    "joint",
    "kernels_only",
    "make_evaluation",
    "make_step",
    "map_report",
    "map_sums",
    "maps",
    "mask_report",
    "mask_sums",
    "masks",
    "match_objects",
    "object_counts",
    "object_report",
    "on_rows",
    "on_sequences",
    "optimiser",
    "parallelise",
    "points_of",
    "power_spectra",
    "ratio_interval",
    "ratio_moments",
    "read_log",
    "regression",
    "regression_report",
    "regression_sums",
    "segmentation",
    "segmentation_report",
    "segmentation_sums",
    "sequence_of",
    "shell_modes",
    "soft_dice",
    "spectrum_report",
    "spectrum_sums",
    "update_fn",
    "warmup_cosine",
]
