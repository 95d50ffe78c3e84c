"""`zoo explain`: where a trained network looks, by any method of `zoo.explain`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo import explain, taps
from zoo.errors import UserError, unknown
from zoo_datasets.loading import catalogue
from zoo_experiments.verbs import figures
from zoo_experiments.verbs.experiment import Experiment, Setup
from zoo_experiments.verbs.runs import Run

# Methods whose values have a sign that means for or against the class.
SIGNED = {"saliency", "gradient x input", "smooth grad", "integrated gradients", "occlusion"}


@dataclass(frozen=True)
class Explained:
    """Explanations of a few records.

    Attributes:
        records: (N,) record numbers.
        images: (N, H, W, C) inputs of the network.
        titles: N lines that say what is shown.
        maps: method → (N, H, W, C), or (N, H, W) where the method has no channels; in units of the output (gradients:
            output per unit of input): the logit of a class, or a target in standard deviations.
        notes: method → what is known of its error.
    """

    records: np.ndarray
    images: np.ndarray
    titles: list[str]
    maps: dict[str, np.ndarray]
    notes: dict[str, str]


def explain_records(
    made: Setup,
    variables: Mapping[str, Any],
    *,
    split: str,
    records: Sequence[int],
    methods: Sequence[str],
    target: int | None = None,
    layer: str | None = None,
) -> Explained:
    """Explain one output of the network, the logit of a class or a target, for some records of a split.

    Args:
        made: functions of the run, with the split in memory.
        variables: the weights.
        split: which split.
        records: record numbers.
        methods: names from `zoo.explain.methods()`.
        target: number of the output; when not given the predicted class of each record, or the first target.
        layer: layer for Grad-CAM.

    Raises:
        UnknownName: a method or a layer is not known.
        UserError: a record or a class is not there.
    """
    if made.outputs.dense:
        raise UserError(
            f"{made.experiment.model} says something about every pixel: only networks with one answer "
            "for an image can be explained as yet."
        )
    known = explain.methods()
    if not methods:
        raise UserError(f"Name at least one method; there are: {', '.join(known)}.")
    for method in methods:
        if method not in known:
            raise unknown("method", method, known)
    source = made.data[split]
    numbers = np.asarray(records)
    if numbers.size == 0 or numbers.min() < 0 or numbers.max() >= len(source):
        raise UserError(f"Records of {split} are numbered 0 to {len(source) - 1}; got {numbers.tolist()}.")
    outputs = made.outputs
    if target is not None and not 0 <= target < len(outputs.names):
        what = "Targets" if outputs.targets else "Classes"
        raise UserError(f"{what} are numbered 0 to {len(outputs.names) - 1}; got {target}.")
    images = jnp.asarray(source.arrays["image"][numbers])
    logits = jax.jit(made.model.apply)(variables, images)
    predictions = np.asarray(made.task.predict(logits))
    if target is None and not outputs.targets:
        targets = jnp.argmax(logits, axis=-1)
    else:
        targets = jnp.full(len(numbers), target or 0)
    chosen = ""
    if any(known[method].kind == "layer" for method in methods):
        chosen = layer or made.experiment.layer or default_layer(made)
        check_layer(made, chosen)
    maps, notes = {}, {}
    for method in methods:
        key = jax.random.key(made.experiment.seed)
        if method == "integrated_gradients":
            values, error = explain.integrated_gradients(explain.score(made.model, variables, targets), images)
            change = jnp.abs(values.sum(axis=tuple(range(1, values.ndim))) - error)
            relative = np.asarray(jnp.abs(error) / change)
            what = "output" if outputs.targets else "logit"
            notes[method] = f"median completeness error {np.median(relative):.1e} of the change of the {what}"
        else:
            values = known[method].function(made.model, variables, images, targets, key, chosen, {})
        values = np.asarray(values)
        label = method.replace("_", " ") + (f" at {chosen}" if known[method].kind == "layer" else "")
        maps[label] = values
    names, truths = outputs.names, source.arrays[outputs.truth][numbers]
    titles = []
    for number, truth, goal, p in zip(numbers, truths, np.asarray(targets), predictions, strict=True):
        if outputs.targets:
            told = f"{names[goal]}\ntrue {truth[goal]:.3g}, predicted {p[goal]:.3g} {outputs.targets[names[goal]]}"
        else:
            told = f"true {names[truth]}\nfor {names[goal]} ({p[goal]:.0%})"
        titles.append(f"{split} {number}\n{told.strip()}")
    return Explained(numbers, np.asarray(images), titles, maps, notes)


def explain_run(
    run: Run,
    *,
    methods: Sequence[str] | None,
    target: int | None,
    layer: str | None,
    split: str,
    records: Sequence[int],
    out: Path,
) -> Path:
    """Explain records of a trained run; writes `explanations.png` and `explanations.npz` into `out`.

    Args:
        methods: names from `zoo.explain.methods()`; when None, the usual ones that the model admits.
        records: record numbers; when empty, typical ones (`typical`).

    Returns:
        The figure's path. The arrays are `records` (N,), `images` (N, H, W, C) and one per method, (N, H, W, C) or
        (N, H, W).
    """
    made = run.setup(splits=(split,))
    variables = run.weights(made).state.averaged
    if not records and not made.outputs.dense:
        raw, _ = made.evaluation()(variables, made.data[split])
        records = typical(made, np.asarray(made.task.predict(raw)), made.data[split].arrays[made.outputs.truth])
    if methods is None:
        methods = fitting(made, ("integrated_gradients", "grad_cam", "occlusion"))
    explained = explain_records(
        made, variables, split=split, records=records, methods=methods, target=target, layer=layer
    )
    out.mkdir(parents=True, exist_ok=True)
    arrays = {name.replace(" ", "_").replace("/", "."): values for name, values in explained.maps.items()}
    np.savez_compressed(out / "explanations.npz", records=explained.records, images=explained.images, **arrays)
    drawn_as = {"credit": credit_of(run.experiment), "colours": colours_of(run.experiment)}
    draw(explained, looks=made.experiment.images.crop, **drawn_as).savefig(out / "explanations.png", dpi=130)
    return out / "explanations.png"


def draw(
    explained: Explained, *, looks: Sequence[int] = (0,), credit: str = "", colours: Sequence[int] = ()
) -> figures.Figure:
    """The figure: inputs beside all maps.

    A network that takes several crops of an image sees each place at several scales; then every crop has its row,
    with the share of the attribution that goes to its channels. Otherwise attributions are summed over channels.

    Args:
        explained: what to draw.
        looks: `crop` of the images.
        credit: line at the foot.
        colours: channels of a crop that are drawn as red, green and blue; empty for all.
    """
    signed = {name: name in SIGNED for name in explained.maps}
    images, titles, rows = [], [], {name: [] for name in explained.maps}
    width = explained.images.shape[-1] // len(looks)
    for i, title in enumerate(explained.titles):
        for number, crop in enumerate(looks):
            part = slice(number * width, (number + 1) * width)
            images.append(as_drawn(explained.images[i, ..., part], colours))
            titles.append(title if len(looks) == 1 else f"{title}\ncentral {crop or 'square'} px")
            for name, values in explained.maps.items():
                one = values[i]
                rows[name].append(one[..., part].sum(-1) if one.ndim == explained.images.ndim - 1 else one)
    maps = {name: np.stack(values) for name, values in rows.items()}
    return figures.explanations(np.stack(images), maps, titles, signed=signed, credit=credit)


def typical(made: Setup, predictions: np.ndarray, truth: np.ndarray) -> list[int]:
    """Records to explain: one per class (`one_per_class`), or for a target those at a tenth, half and nine tenths."""
    if made.outputs.targets:
        order = np.argsort(truth[:, 0], kind="stable")
        return [int(order[int(share * (len(order) - 1))]) for share in (0.1, 0.5, 0.9)]
    return one_per_class(predictions, truth)


def one_per_class(probabilities: np.ndarray, labels: np.ndarray) -> list[int]:
    """For each class the record whose probability of it is the median of its examples: neither best nor worst."""
    chosen = []
    for k in range(probabilities.shape[1]):
        members = np.flatnonzero(labels == k)
        if members.size:
            order = members[np.argsort(probabilities[members, k], kind="stable")]
            chosen.append(int(order[len(order) // 2]))
    return chosen


def described(experiment: Experiment) -> catalogue.Description | None:
    """What is known of the data of an experiment; None for the user's own."""
    name = experiment.data_name
    return catalogue.describe(name) if catalogue.is_known(name) else None


def credit_of(experiment: Experiment) -> str:
    """The line of credit that images of the data must carry, empty for the user's own data."""
    return about.credit if (about := described(experiment)) else ""


def colours_of(experiment: Experiment) -> tuple[int, ...]:
    """Channels to be drawn as red, green and blue; empty where the data does not say."""
    return about.colours if (about := described(experiment)) else ()


def as_drawn(images: np.ndarray, colours: Sequence[int]) -> np.ndarray:
    """The channels of (…, C) that are drawn as red, green and blue; all where there is nothing to choose."""
    return images[..., list(colours)] if colours else images


def default_layer(made: Setup) -> str:
    """The last layer with spatial axes, found by shapes.

    Raises:
        UserError: there is none.
    """
    if (name := _last_spatial(made)) is None:
        raise UserError(f"{made.experiment.model} has no layer with spatial axes, which Grad-CAM needs.")
    return name


def fitting(made: Setup, methods: Sequence[str]) -> tuple[str, ...]:
    """Those of `methods` that the model admits: Grad-CAM needs a layer with spatial axes."""
    if _last_spatial(made) is not None:
        return tuple(methods)
    return tuple(method for method in methods if explain.methods()[method].kind != "layer")


def _last_spatial(made: Setup) -> str | None:
    return next((name for name in reversed(layer_names(made)) if _is_spatial(made, name)), None)


def check_layer(made: Setup, layer: str) -> None:
    """Refuse a layer that Grad-CAM cannot use.

    Raises:
        UnknownName: the model has no such layer.
        UserError: the layer has no spatial axes.
    """
    there = layer_names(made)
    if layer not in there:
        raise unknown("layer", layer, there)
    if not _is_spatial(made, layer):
        raise UserError(f"The layer {layer!r} has no spatial axes, which Grad-CAM needs; {default_layer(made)!r} has.")


def layer_names(made: Setup) -> tuple[str, ...]:
    """Names of all layers, in the order in which they are called."""
    return taps.names(made.model, jnp.zeros(made.example.shape))


def _is_spatial(made: Setup, layer: str) -> bool:
    def activation(key: jax.Array, x: jax.Array) -> jax.Array:
        return taps.read(made.model, made.model.init(key, x), x, [layer])[1][layer]

    try:
        found = jax.eval_shape(activation, jax.random.key(0), jnp.zeros(made.example.shape))
    except ValueError:  # a layer inside a transform that does not let it be read
        return False
    shape = getattr(found, "shape", ())
    return len(shape) == made.example.ndim and max(shape[1:-1]) > 1
