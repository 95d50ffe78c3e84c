"""`zoo report`: one self-contained HTML page per run."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import jinja2
import numpy as np

from zoo import registry, train
from zoo_datasets.loading import catalogue
from zoo_experiments.verbs import figures
from zoo_experiments.verbs.evaluating import value_of
from zoo_experiments.verbs.experiment import Setup, as_json
from zoo_experiments.verbs.explaining import Explained, credit_of, draw, explain_records, one_per_class
from zoo_experiments.verbs.runs import Run

METHODS = ("saliency", "smooth_grad", "integrated_gradients", "grad_cam", "occlusion")
SHOWN = 12


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
    logits, sums = made.evaluation()(state.averaged, source)
    probabilities = np.asarray(made.task.predict(logits))
    labels, images = source.arrays["label"], source.arrays["image"]
    numbers = train.finalise(made.task, sums)
    matrix = np.asarray(numbers["confusion"])
    credit = credit_of(run.experiment)
    best, worst = extremes(probabilities, labels, SHOWN)
    explained = explain_records(
        made, state.averaged, split=split, records=one_per_class(probabilities, labels), methods=METHODS
    )
    drawn = {
        "learning_curves": figures.learning_curves(train.read_log(run.file("metrics.csv"))),
        "confusion": figures.confusion(matrix, made.class_names),
        "recall": figures.recall_bars(matrix, made.class_names),
        "reliability": _reliability(np.asarray(numbers["bins"])),
        "worst": _gallery(
            images, probabilities, labels, worst, made.class_names, credit, len(run.experiment.images.crop)
        ),
        "best": _gallery(
            images, probabilities, labels, best, made.class_names, credit, len(run.experiment.images.crop)
        ),
        "explanations": draw(explained, looks=run.experiment.images.crop, credit=credit),
    }
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
        headline=value_of(results, "accuracy", split),
        tests=[row for row in results["metrics"] if row["split"] == "test"],
        metrics=[row for row in results["metrics"] if row["split"] == split],
        sizes=json.loads(run.file("config.json").read_text())["data"]["records"],
        card=registry.card(run.experiment.model),
        settings=json.dumps(as_json(run.experiment), indent=1),
        figures=addresses,
        notes=_notes(explained),
        looks=run.experiment.images.crop,
        about=_about(run),
        credit=credit,
        waiting=_waiting(run),
    )
    path = run.file("report.html")
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path


def extremes(probabilities: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Record numbers of the `count` most confidently right and of the worst ones, by probability of the true class."""
    truth = probabilities[np.arange(len(labels)), labels]
    order = np.argsort(truth, kind="stable")
    return order[::-1][:count], order[:count]


def _gallery(
    images: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
    chosen: np.ndarray,
    names: Sequence[str],
    credit: str,
    crops: int,
) -> figures.Figure:
    predicted = probabilities.argmax(1)
    shown = images[chosen][..., : images.shape[-1] // crops]
    titles = [figures.caption(names[labels[i]], names[predicted[i]], probabilities[i, predicted[i]]) for i in chosen]
    colours = [figures.RIGHT if predicted[i] == labels[i] else figures.WRONG for i in chosen]
    return figures.gallery(shown, titles, colours=colours, credit=credit)


def _reliability(bins: np.ndarray) -> figures.Figure:
    count, confidence, hits = bins
    divisor = np.maximum(count, 1)
    return figures.reliability(confidence / divisor, hits / divisor, count)


def _notes(explained: Explained) -> list[str]:
    return [f"{method.replace('_', ' ').capitalize()}: {note}" for method, note in explained.notes.items()]


def _about(run: Run) -> dict[str, str]:
    data = run.experiment.data
    if data not in catalogue.names():
        return {"title": Path(data).name, "notes": "", "licence": "", "units": ""}
    described = catalogue.describe(data)
    return {"title": described.title, "notes": described.notes, "licence": described.licence, "units": described.units}


def _waiting(run: Run) -> float:
    rows = [row for row in train.read_log(run.file("metrics.csv")) if row["split"] == "train"]
    return float(np.mean([row["waiting"] for row in rows])) if rows else 0.0


def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("zoo_experiments.verbs", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["interval"] = lambda row: f"{row['interval'][0]:.3f} – {row['interval'][1]:.3f}"
    return environment.get_template("report.html.jinja")
