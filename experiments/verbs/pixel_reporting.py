"""What the report shows of a network whose truth is about pixels: examples, worst cases, and curves."""

from collections.abc import Sequence

import numpy as np

from zoo import train
from zoo_datasets.loading.records import ArraySource
from zoo_experiments.verbs import figures, pixel_figures
from zoo_experiments.verbs.experiment import Setup
from zoo_experiments.verbs.explaining import as_drawn
from zoo_experiments.verbs.pixel_figures import Panel
from zoo_experiments.verbs.pixel_scores import (
    completeness_of,
    has_floor,
    over_floor_of,
    precision_recall_of,
    score_by_image,
    spectra_of,
)

SHOWN = 4
# Places of the typical examples in the order of their scores.
TYPICAL = (0.9, 0.5, 0.1)


def drawn(
    made: Setup, source: ArraySource, raw: np.ndarray, *, credit: str = "", colours: Sequence[int] = ()
) -> dict[str, figures.Figure]:
    """The figures of one split.

    Args:
        made: functions of the run.
        source: records of the split.
        raw: outputs of the network (N, …, K).
        credit: line at the foot of pictures.
        colours: channels drawn as red, green and blue.
    """
    predictions = np.asarray(made.task.predict(raw))
    scores = score_by_image(made, raw, source)
    order = np.argsort(np.where(np.isfinite(scores), scores, np.inf), kind="stable")
    finite = order[: int(np.isfinite(scores).sum())]
    if len(finite) == 0:
        finite = order
    typical = np.array([finite[int(share * (len(finite) - 1))] for share in TYPICAL])
    what = score_name(made)
    found = {}
    for name, chosen in (("examples", typical), ("worst", finite[:SHOWN])):
        titles = [f"record {i}\n{what} {_told(scores[i])}" for i in chosen]
        for key, columns in _columns(made, source, predictions, chosen, colours).items():
            names = made.outputs.class_names if made.outputs.kind == "segmentation" else ()
            found[f"{name}{key}"] = pixel_figures.panels(columns, titles, class_names=names, credit=credit)
    if (lines := precision_recall_of(made, raw, source)) is not None:
        found["precision_recall"] = pixel_figures.precision_recall(lines[0], share=lines[1])
    if made.outputs.kind == "segmentation":
        found["reliability"] = _reliability(predictions, source)
    if (complete := completeness_of(raw, source, made.outputs.class_names)) is not None:
        label = "sources found with their class (%)"
        found["completeness"] = pixel_figures.curves(*complete, x_label="magnitude", y_label=label)
    if made.outputs.kind == "maps" and (power := spectra_of(made, predictions, source)) is not None:
        found["spectra"] = pixel_figures.spectra(*power)
    if has_floor(made, source):
        found["floor"] = pixel_figures.over_floor(over_floor_of(made, raw, source))
    if made.outputs.spread:
        found["standardised"] = pixel_figures.standardised_errors(_standardised(made, predictions, source))
    for name in properties_of(made, source):
        metric = "Dice coefficient" if what == "Dice" else "root mean squared error (standard deviations)"
        shown = scores if what == "Dice" else -scores
        found[f"against_{name}"] = pixel_figures.against_property(shown, source.arrays[name], metric=metric, name=name)
    return found


def properties_of(made: Setup, source: ArraySource) -> tuple[str, ...]:
    """The properties that the experiment names, of which the records have one number each: the user's data may not."""
    return tuple(name for name in made.experiment.properties if np.ndim(source.arrays.get(name, 0)) == 1)


def score_name(made: Setup) -> str:
    """What the score of one image is called."""
    return "Dice" if made.outputs.kind in ("segmentation", "masks") else "error"


def _told(score: float) -> str:
    return f"{abs(score):.2f}" if np.isfinite(score) else "—"


def _columns(
    made: Setup, source: ArraySource, predictions: np.ndarray, chosen: np.ndarray, colours: Sequence[int]
) -> dict[str, list[Panel]]:
    """Key of a figure → its columns; a figure for each map of numbers, one for everything else."""
    arrays, outputs = source.arrays, made.outputs
    truth, said = arrays[outputs.truth][chosen], predictions[chosen]
    image = as_drawn(arrays["image"][chosen], colours)
    if image.ndim == 5:
        where = _fullest_slices(truth if outputs.kind == "segmentation" else truth.any(-1))
        image, truth, said = (np.stack([v[i] for v, i in zip(a, where, strict=True)]) for a in (image, truth, said))
    columns = [Panel("input", image, "image")]
    if outputs.kind == "segmentation":
        classes = said.argmax(-1)
        return {
            "": [
                *columns,
                Panel("truth", truth, "classes"),
                Panel("prediction", classes, "classes"),
                Panel("difference", classes != truth, "errors"),
                Panel("uncertainty", 1 - said.max(-1), "amount"),
            ]
        }
    if outputs.kind == "masks":
        for m, name in enumerate(outputs.masks):
            columns += [Panel(f"{name}: truth", truth[..., m], "share"), Panel("prediction", said[..., m], "share")]
        wrong = ((said > 0.5) != truth).any(-1)
        doubt = 1 - np.abs(2 * said - 1).min(-1)
        return {"": [*columns, Panel("difference", wrong, "errors"), Panel("uncertainty", doubt, "share")]}
    found = {}
    valid = arrays["valid"][chosen] > 0 if "valid" in arrays else np.ones(truth.shape[:-1], bool)
    count = len(outputs.targets)
    for d, (name, unit) in enumerate(outputs.targets.items()):
        told = f" ({unit})" if unit else ""
        true, guess = (np.where(valid, v[..., d], np.nan) for v in (truth, said))
        panels = [
            Panel(f"{name}{told}: truth", true, "amount", "values"),
            Panel("prediction", guess, "amount", "values"),
            Panel("difference", guess - true, "signed"),
        ]
        if outputs.spread:
            panels.append(Panel("uncertainty", np.where(valid, said[..., count + d], np.nan), "amount"))
        found[f"_{d}" if d else ""] = [*columns, *panels]
    return found


def _fullest_slices(truth: np.ndarray) -> np.ndarray:
    """For each volume (N, D, H, W) the slice with the most pixels that are not background."""
    return (truth > 0).sum((2, 3)).argmax(1)


def _reliability(predictions: np.ndarray, source: ArraySource) -> figures.Figure:
    confidence = predictions.max(-1)
    hits = predictions.argmax(-1) == source.arrays["label"]
    if "valid" in source.arrays:
        there = source.arrays["valid"] > 0
        confidence, hits = confidence[there], hits[there]
    bins = np.minimum((confidence.ravel() * train.BINS).astype(int), train.BINS - 1)
    count, sums, right = (
        np.bincount(bins, weights, train.BINS) for weights in (None, confidence.ravel(), hits.ravel())
    )
    divisor = np.maximum(count, 1)
    return figures.reliability(sums / divisor, right / divisor, count)


def _standardised(made: Setup, predictions: np.ndarray, source: ArraySource) -> dict[str, np.ndarray]:
    """Target → errors in units of the predicted standard deviation, of the pixels that count."""
    truth, count = source.arrays["target"], len(made.outputs.targets)
    there = source.arrays["valid"] > 0 if "valid" in source.arrays else np.ones(truth.shape[:-1], bool)
    return {
        name: ((predictions[..., d] - truth[..., d]) / predictions[..., count + d])[there]
        for d, name in enumerate(made.outputs.names)
    }
