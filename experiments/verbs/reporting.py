"""`zoo report`: one self-contained HTML page per run."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from zoo import registry, train
from zoo.layers import angle_filter
from zoo_datasets.loading.records import ArraySource
from zoo_experiments.verbs import (
    figures,
    graph_reporting,
    pixel_figures,
    pixel_reporting,
    score_figures,
    sequence_figures,
    sequence_reporting,
)
from zoo_experiments.verbs.evaluating import value_of
from zoo_experiments.verbs.experiment import Setup, as_json
from zoo_experiments.verbs.explaining import (
    Explained,
    as_drawn,
    colours_of,
    credit_of,
    described,
    draw,
    explain_records,
    fitting,
    layer_names,
    typical,
)
from zoo_experiments.verbs.fields import LAYOUT
from zoo_experiments.verbs.runs import Run
from zoo_experiments.verbs.statistics import shares_by

METHODS = ("saliency", "smooth_grad", "integrated_gradients", "grad_cam", "occlusion")
SHOWN = 12
# What records are called where it is not the field's own name.
RECORDS = {"points": "sets of points"}
# Metrics by their usual names.
TOLD = {
    "nll": "negative log-likelihood in nats",
    "ece": "expected calibration error",
    "roc_auc": "area under the ROC curve",
    "average_precision": "mean purity over completeness",
    "r2": "R²",
    "bits": "bits per step",
    "dice": "Dice coefficient of all pixels",
    "dice_by_image": "Dice coefficient, mean over images",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "coverage_68": "share within the predicted σ, 0.683 when calibrated",
    "z_squared": "mean of squared errors over the predicted variance, 1 when calibrated",
    "sigma_nmad": "σ_NMAD of Δz / (1 + z)",
    "outliers": "share of |Δz| / (1 + z) above 0.15",
}


def write_report(run: Run, made: Setup, state: train.State, *, split: str = "validation") -> Path:
    """Write `report.html` into the run folder; figures are kept beside it as PNG files too.

    Args:
        run: an evaluated run.
        made: its functions, with the split in memory.
        state: the weights it keeps.
        split: split of examples and explanations.
    """
    results = run.read("results.json")
    source = made.data[split]
    raw, sums = made.evaluation()(state.averaged, source)
    credit, colours = credit_of(run.experiment), colours_of(run.experiment)
    drawn = {"learning_curves": figures.learning_curves(train.read_log(run.file("metrics.csv")))}
    notes = []
    if made.outputs.dense:
        part, outputs = made.parts(raw)[0]
        drawn |= pixel_reporting.drawn(part, source, outputs, credit=credit, colours=colours)
        for part, outputs in made.parts(raw)[1:]:
            drawn |= _scatter(part, np.asarray(part.task.predict(outputs)), source.arrays["target"])
    elif made.field == "sequence":
        unit = _time_unit(run)
        drawn |= sequence_reporting.drawn(made, state.averaged, source, raw, unit=unit)
        if not made.outputs.steps:
            drawn |= _of_whole(made, source, raw, sums, credit, unit)
    elif made.field != "image":
        drawn |= graph_reporting.drawn(made, state.averaged, source, raw)
        if not made.outputs.rows:
            drawn |= _of_whole(made, source, raw, sums, credit)
    else:
        predictions, truth = np.asarray(made.task.predict(raw)), source.arrays[made.outputs.truth]
        drawn |= _of_whole(made, source, raw, sums, credit)
        explained = explain_records(
            made,
            state.averaged,
            split=split,
            records=typical(made, predictions, truth),
            methods=fitting(made, METHODS),
        )
        drawn["explanations"] = draw(explained, looks=run.experiment.images.crop, credit=credit, colours=colours)
        notes = _notes(explained)
    if (bank := first_kernels(made, state.averaged)) is not None:
        by_hand = {"made by hand": angle_filter(len(bank))} if run.experiment.model == "filter_net" else None
        drawn["kernels"] = score_figures.kernels(bank, beside=by_hand)
    # Drawn once: the page and the file hold the same bytes.
    addresses = {name: figures.to_data_uri(figure, dpi=130) for name, figure in drawn.items()}
    run.file("figures").mkdir(exist_ok=True)
    for name, address in addresses.items():
        (run.file("figures") / f"{name}.png").write_bytes(base64.b64decode(address.partition(",")[2]))
    page = _template().render(
        run=run,
        experiment=run.experiment,
        results=results,
        split=split,
        headline=value_of(results, run.experiment.score or made.outputs.score, split),
        outputs=made.outputs,
        tests=[row for row in results["metrics"] if row["split"] == "test"],
        metrics=[row for row in results["metrics"] if row["split"] == split],
        sizes=json.loads(run.file("config.json").read_text())["data"]["records"],
        card=registry.card(run.experiment.model),
        settings=json.dumps(as_json(run.experiment), indent=1),
        figures=addresses,
        notes=notes,
        looks=run.experiment.images.crop,
        about=_about(run),
        layout=LAYOUT[made.field],
        records=RECORDS.get(made.field, f"{made.field}s"),
        credit=credit,
        waiting=_waiting(run),
    )
    path = run.file("report.html")
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path


def extremes(goodness: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Record numbers of the `count` best and of the `count` worst, by a number (N,) that is larger for better ones."""
    order = np.argsort(goodness, kind="stable")
    return order[::-1][:count], order[:count]


def _of_whole(
    made: Setup, source: ArraySource, raw: np.ndarray, sums: Mapping[str, Any], credit: str, unit: str = ""
) -> dict[str, figures.Figure]:
    """Figures of classes or numbers of whole images or sequences; `unit` is that of the times of sequences."""
    predictions, truth = np.asarray(made.task.predict(raw)), source.arrays[made.outputs.truth]
    if made.outputs.targets:
        return _of_numbers(made, source, predictions, truth, credit, unit)
    return _of_classes(made, source, predictions, truth, credit, train.finalise(made.task, sums), unit)


def _gallery(
    made: Setup, source: ArraySource, chosen: np.ndarray, titles: list[str], *, credit: str, unit: str, **more: Any
) -> figures.Figure:
    if made.field == "sequence":
        return sequence_reporting.gallery(made, source, chosen, titles, credit=credit, unit=unit, **more)
    if made.field != "image":
        return graph_reporting.gallery(made, source, chosen, titles, credit=credit, **more)
    return figures.gallery(_first_look(made, source, chosen), titles, credit=credit, **more)


def _of_classes(
    made: Setup,
    source: ArraySource,
    probabilities: np.ndarray,
    labels: np.ndarray,
    credit: str,
    numbers: Mapping[str, Any],
    unit: str,
) -> dict[str, figures.Figure]:
    names, predicted = made.class_names, probabilities.argmax(1)

    def shown(chosen: np.ndarray) -> figures.Figure:
        titles = [
            figures.caption(names[labels[i]], names[predicted[i]], probabilities[i, predicted[i]]) for i in chosen
        ]
        colours = [figures.RIGHT if predicted[i] == labels[i] else figures.WRONG for i in chosen]
        return _gallery(made, source, chosen, titles, colours=colours, credit=credit, unit=unit)

    matrix = np.asarray(numbers["confusion"])
    best, worst = extremes(probabilities[np.arange(len(labels)), labels], SHOWN)
    drawn = {
        "confusion": figures.confusion(matrix, names),
        "recall": figures.recall_bars(matrix, names),
        "reliability": figures.reliability_of(np.asarray(numbers["bins"])),
        "worst": shown(worst),
        "best": shown(best),
    }
    if len(names) == 2 and len(np.unique(labels)) == 2:
        positive = probabilities[:, 1]
        drawn["detection"] = score_figures.detection({"network": positive}, {"network": labels}, positive=names[1])
        others = np.flatnonzero(labels == 0)
        drawn["false_positives"] = shown(others[np.argsort(-positive[others], kind="stable")][:SHOWN])
    for prop in pixel_reporting.properties_of(made, source):
        line = shares_by(predicted == labels, source.arrays[prop])
        drawn[f"against_{prop}"] = sequence_figures.against({"network": line}, x_label=prop, y_label="accuracy")
    return drawn


def _of_numbers(
    made: Setup, source: ArraySource, predictions: np.ndarray, truth: np.ndarray, credit: str, time_unit: str
) -> dict[str, figures.Figure]:
    drawn = _scatter(made, predictions, truth)
    name, unit = next(iter(made.outputs.targets.items()))
    for prop in pixel_reporting.properties_of(made, source):
        metric = f"error of {name}" + (f" ({unit})" if unit else "")
        errors, values = predictions[:, 0] - truth[:, 0], source.arrays[prop]
        drawn[f"against_{prop}"] = pixel_figures.against_property(errors, values, metric=metric, name=prop)

    def shown(chosen: np.ndarray) -> figures.Figure:
        titles = [
            f"true {truth[i, 0]:.3g} {unit}\npred. {predictions[i, 0]:.3g} {unit}".replace(" \n", "\n") for i in chosen
        ]
        return _gallery(made, source, chosen, titles, credit=credit, unit=time_unit)

    best, worst = extremes(-np.abs(predictions[:, 0] - truth[:, 0]), SHOWN)
    return {**drawn, "worst": shown(worst), "best": shown(best)}


def _scatter(made: Setup, predictions: np.ndarray, truth: np.ndarray) -> dict[str, figures.Figure]:
    """Predicted against true numbers, a figure for each target."""
    return {
        f"numbers_{column}" if column else "numbers": score_figures.predicted_against_true(
            predictions[:, column], truth[:, column], name, unit
        )
        for column, (name, unit) in enumerate(made.outputs.targets.items())
    }


def _first_look(made: Setup, source: ArraySource, chosen: np.ndarray) -> np.ndarray:
    images = source.arrays["image"][chosen]
    images = images[..., : images.shape[-1] // len(made.experiment.images.crop)]
    return as_drawn(images, colours_of(made.experiment))


def first_kernels(made: Setup, variables: Mapping[str, Any]) -> np.ndarray | None:
    """The kernels (k, k, C, K) of the first convolution over images with k above 1; None where there is none.

    Kernels over folded pixels, (k, k, f²·C, K), are unfolded to (f·k, f·k, C, K).
    """
    if made.field != "image":
        return None
    for layer in layer_names(made):
        node = variables["params"]
        for part in layer.split("/"):
            node = node.get(part, {}) if isinstance(node, Mapping) else {}
        kernel = node.get("kernel") if isinstance(node, Mapping) else None
        if kernel is not None and np.ndim(kernel) == 4 and kernel.shape[0] > 1:
            return _unfolded(np.asarray(kernel), made.shape[-1])
    return None


def _unfolded(kernel: np.ndarray, channels: int) -> np.ndarray:
    """The inverse of what `zoo.layers.fold_pixels` makes of a kernel's pixels."""
    side, _, inputs, outputs = kernel.shape
    fold = round((inputs / channels) ** 0.5)
    if inputs != fold**2 * channels:
        return kernel
    kernel = kernel.reshape(side, side, fold, fold, channels, outputs).transpose(0, 2, 1, 3, 4, 5)
    return kernel.reshape(side * fold, side * fold, channels, outputs)


def _notes(explained: Explained) -> list[str]:
    return [f"{method.replace('_', ' ').capitalize()}: {note}" for method, note in explained.notes.items()]


def _time_unit(run: Run) -> str:
    about = described(run.experiment)
    return "days" if about is not None and "times: days" in about.units else ""


def _about(run: Run) -> dict[str, str]:
    if (about := described(run.experiment)) is None:
        return {"title": Path(run.experiment.data_name).name, "notes": "", "licence": "", "units": ""}
    return {"title": about.title, "notes": about.notes, "licence": about.licence, "units": about.units}


def _waiting(run: Run) -> float:
    rows = [row for row in train.read_log(run.file("metrics.csv")) if row["split"] == "train"]
    return float(np.mean([row["waiting"] for row in rows])) if rows else 0.0


def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("zoo_experiments.verbs", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["told"] = lambda name: TOLD.get(name, name)
    environment.filters["interval"] = lambda row: f"{row['interval'][0]:.3f} – {row['interval'][1]:.3f}"
    return environment.get_template("report.html.jinja")
