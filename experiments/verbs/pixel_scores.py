"""The scores of one split where the truth is about pixels: what is counted for which kind of truth."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo import train
from zoo_datasets.loading.records import ArraySource
from zoo_experiments.verbs.experiment import Setup
from zoo_experiments.verbs.pixels import Meter, by_image, each, merged, rows_of
from zoo_experiments.verbs.statistics import mean_row
from zoo_experiments.verbs.tasks import dense_task

# What a report counts and does not score.
COUNTS = ("count", "images", "boundary_images")
# Distance in pixels within which boundaries agree.
TOLERANCE = 2.0
# Intersection over union from which on a predicted object is a true one, and pixels that it needs.
MATCH, SMALLEST = 0.5, 4
MAGNITUDE_BINS = 8


def pixel_scores(made: Setup, raw: np.ndarray, source: ArraySource) -> list[dict[str, Any]]:
    """Metrics with intervals of a network's raw outputs (N, …, K) against the truth of the records.

    Those of a class, mask or target have its name behind theirs. `dice` counts the pixels of all images together, in
    which large objects rule; `dice_by_image` is the mean over the images of what is right in each.

    Args:
        made: functions of the run.
        raw: outputs of the network, in the order of the records.
        source: the records.
    """
    batch = truth_of(made, source)
    rows = [row for meter in meters(made, source) for row in rows_of(by_image(meter, raw, batch), meter.report)]
    if has_objects(made, source):
        rows += rows_of(object_sums(raw, source), object_numbers)
    if has_floor(made, source):
        rows += rows_of(floor_sums(made, raw, source), lambda sums: floor_numbers(sums, made.outputs.names))
    if not made.outputs.targets:
        rows.append(mean_row("dice_by_image", score_by_image(made, raw, source), what="images"))
    single = len(made.outputs.names) == 1
    rows = [{**row, "name": row["name"].replace("_of ", " ")} for row in rows if not (single and "_of " in row["name"])]
    return [row for row in rows if row["name"].split(" ")[0] not in COUNTS]


def score_by_image(made: Setup, raw: np.ndarray, source: ArraySource) -> np.ndarray:
    """How good the outputs for each image are (N,): its Dice coefficient, or minus its error.

    The error is the root mean square over pixels and targets in standard deviations of the targets. NaN where an image
    and its prediction have nothing that could be right or wrong.
    """
    outputs = made.outputs
    if outputs.targets:
        scale = np.asarray(outputs.scale)
        errors, counted = _errors(made, raw, source)
        total = ((errors / scale) ** 2).reshape(len(errors), -1).sum(1)
        count = counted.reshape(len(errors), -1).sum(1) * len(scale)
        return -np.sqrt(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    meter = Meter(made.task.metrics, made.task.finalise)
    sums = by_image(meter, raw, truth_of(made, source))
    names = outputs.masks or outputs.class_names[1:]
    every = np.stack([each(sums, meter.report, f"dice_of {name}") for name in names])
    there = np.isfinite(every)
    return np.where(there.any(0), np.where(there, every, 0).sum(0) / np.maximum(there.sum(0), 1), np.nan)


def precision_recall_of(
    made: Setup, raw: np.ndarray, source: ArraySource
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray, float]], float | None] | None:
    """Completeness, purity and area of every mask, or class but the background, and the share of positives of a single.

    None for maps of numbers, and where nothing is positive.
    """
    if made.outputs.targets:
        return None
    sums = merged(
        by_image(Meter(made.task.metrics, made.task.finalise), raw, truth_of(made, source)), np.ones(len(raw))
    )
    first = 0 if made.outputs.masks else 1
    lines, share = {}, None
    for name, (negatives, positives) in zip(made.outputs.names[first:], sums["scores"][first:], strict=True):
        if not positives.sum():
            continue
        true, false = positives[::-1].cumsum(), negatives[::-1].cumsum()
        there = true + false > 0
        area = train.average_precision(np.stack([negatives, positives]))
        lines[name] = (true[there] / positives.sum(), true[there] / (true + false)[there], area)
        share = positives.sum() / (positives.sum() + negatives.sum())
    return (lines, share if len(lines) == 1 else None) if lines else None


def spectra_of(
    made: Setup, predictions: np.ndarray, source: ArraySource
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]] | None:
    """Wave numbers, ratio of powers and correlation of each target; None where not every pixel counts."""
    if not has_spectra(made, source):
        return None
    names, truth = made.outputs.names, source.arrays["target"]
    sums = train.spectrum_sums(truth, predictions[..., : len(names)])
    found = train.spectrum_report(sums, names, side=truth.shape[1])
    ratio, correlation = (
        {name: np.asarray(found[what][name]) for name in names} for what in ("ratio_of", "correlation_of")
    )
    return np.asarray(found["k"]), ratio, correlation


def truth_of(made: Setup, source: ArraySource) -> dict[str, np.ndarray]:
    """The entries of the records that metrics need."""
    return {name: source.arrays[name] for name in (made.outputs.truth, "valid") if name in source.arrays}


def meters(made: Setup, source: ArraySource) -> list[Meter]:
    """What is counted: the task's own metrics, boundaries of regions in images, spectra of maps of whole images."""
    outputs = made.outputs
    outlined = outputs.kind in ("segmentation", "masks") and source.arrays["image"].ndim == 4
    task = dense_task(made.experiment.optimisation, outputs, boundary=TOLERANCE) if outlined else made.task
    found = [Meter(task.metrics, task.finalise)]
    if has_spectra(made, source):
        size, side = len(outputs.targets), source.arrays["target"].shape[1]
        found.append(
            Meter(
                lambda raw, batch: train.spectrum_sums(batch["target"], made.task.predict(raw)[..., :size]),
                functools.partial(train.spectrum_report, names=outputs.names, side=side),
            )
        )
    return found


def has_objects(made: Setup, source: ArraySource) -> bool:
    """Whether the truth is classes of the pixels of images, in which objects are numbered."""
    return made.outputs.kind == "segmentation" and source.arrays.get("objects", np.zeros(0)).ndim == 3


def object_sums(raw: np.ndarray, source: ArraySource) -> dict[str, np.ndarray]:
    """Objects found, missed and invented in every image: connected pixels of any class but the background are one.

    A predicted object is a true one where their intersection over union is at least a half; those of fewer than
    `SMALLEST` pixels are left out.
    """
    found = (train.components(classes > 0, smallest=SMALLEST) for classes in raw.argmax(-1))
    pairs = zip(source.arrays["objects"], found, strict=True)
    counts = [train.object_counts(true, ours, thresholds=(MATCH,)) for true, ours in pairs]
    return {name: np.stack([count[name] for count in counts]) for name in counts[0]}


def object_numbers(sums: Any) -> dict[str, Any]:
    """Completeness and purity of objects, and found / (found + missed + invented)."""
    report = train.object_report(sums, thresholds=(MATCH,))
    wanted = {
        "object_completeness": "completeness",
        "object_purity": "purity",
        "object_average_precision": "average_precision",
    }
    return {name: report[what] for name, what in wanted.items() if report[what] is not None}


def has_floor(made: Setup, source: ArraySource) -> bool:
    """Whether the records say how well each number can be known from its pixel alone: a field `floor` (N, …, D)."""
    return made.outputs.kind == "maps" and np.shape(source.arrays.get("floor", ())) == source.arrays["target"].shape


def floor_sums(made: Setup, raw: np.ndarray, source: ArraySource) -> dict[str, np.ndarray]:
    """Squared errors and squared floors of every image and target, (N, D), over the pixels that count."""
    errors, counted = _errors(made, raw, source)
    axes = tuple(range(1, errors.ndim - 1))
    floor = source.arrays["floor"].astype(np.float64)
    return {
        "error": np.where(counted, errors**2, 0).sum(axes),
        "floor": np.where(counted, floor**2, 0).sum(axes),
    }


def floor_numbers(sums: Any, names: Sequence[str]) -> dict[str, Any]:
    """`error_over_floor_of` each target: root mean squared error beside the root mean squared floor, which only what
    stands in other pixels can beat."""
    ratio = np.sqrt(sums["error"] / np.where(sums["floor"] > 0, sums["floor"], np.inf))
    return {"error_over_floor_of": dict(zip(names, ratio.tolist(), strict=True))}


def over_floor_of(
    made: Setup, raw: np.ndarray, source: ArraySource, *, groups: int = 10
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Target → root mean squares of floor and error in groups of equally many pixels by their floor, (G,) each.

    In standard deviations of the target.
    """
    errors, counted = _errors(made, raw, source)
    lines = {}
    for d, name in enumerate(made.outputs.names):
        there = counted[..., 0]
        floor, error = (values[..., d][there] / made.outputs.scale[d] for values in (source.arrays["floor"], errors))
        parts = np.array_split(np.argsort(floor, kind="stable"), groups)
        both = [(np.sqrt((floor[p] ** 2).mean()), np.sqrt((error[p] ** 2).mean())) for p in parts if len(p)]
        lines[name] = tuple(np.array(both).T)
    return lines


def _errors(made: Setup, raw: np.ndarray, source: ArraySource) -> tuple[np.ndarray, np.ndarray]:
    """Errors of maps (N, …, D) in the units of the targets, and which pixels count, (N, …, 1) bool."""
    truth = source.arrays["target"]
    errors = np.asarray(made.task.predict(raw))[..., : truth.shape[-1]].astype(np.float64) - truth
    valid = source.arrays.get("valid", np.ones(truth.shape[:-1])) > 0
    return np.where(valid[..., None], errors, 0), valid[..., None]


def completeness_of(
    raw: np.ndarray, source: ArraySource, class_names: Sequence[str]
) -> tuple[np.ndarray, dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]] | None:
    """For every class the share of its sources of which most pixels are given their class, against their magnitude.

    None where the records do not list `kinds` and `magnitudes` of their numbered `objects`. A source without a pixel of
    its own is missed.

    Returns:
        Middles of bins of magnitude (B,), and class → share with the ends of Wilson's interval, (B,) each.
    """
    if not {"kinds", "magnitudes", "objects"} <= set(source.arrays):
        return None
    kinds, magnitudes, objects = (source.arrays[name] for name in ("kinds", "magnitudes", "objects"))
    classes = raw.argmax(-1)
    right = np.zeros(kinds.shape, bool)
    for i, j in np.argwhere(kinds > 0):
        pixels = classes[i][objects[i] == j + 1]
        right[i, j] = pixels.size > 0 and np.mean(pixels == kinds[i, j]) > 0.5
    there = kinds > 0
    edges = np.linspace(magnitudes[there].min(), magnitudes[there].max(), MAGNITUDE_BINS + 1)
    place = np.clip(np.searchsorted(edges, magnitudes, side="right") - 1, 0, MAGNITUDE_BINS - 1)
    lines = {}
    for k, name in enumerate(class_names[1:], start=1):
        members = [(kinds == k) & (place == b) for b in range(MAGNITUDE_BINS)]
        hits, counts = np.array([(right[m].sum(), m.sum()) for m in members]).T
        ends = np.array([train.interval(h, n) for h, n in zip(hits, counts, strict=True)])
        lines[name] = 100 * hits / np.maximum(counts, 1), 100 * ends[:, 0], 100 * ends[:, 1]
    return (edges[1:] + edges[:-1]) / 2, lines


def has_spectra(made: Setup, source: ArraySource) -> bool:
    """Whether the truth is maps of numbers, square, of which every pixel counts."""
    sizes = source.arrays[made.outputs.truth].shape[1:-1]
    return made.outputs.kind == "maps" and "valid" not in source.arrays and len(set(sizes)) == 1
