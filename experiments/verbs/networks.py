"""The network of an experiment: made with its options, and held against its data on shapes alone."""

import ast
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

import zoo
from zoo.augment import Augmentation
from zoo.errors import UserError
from zoo_experiments.verbs.fields import KINDS, LAYOUT, Field, example_of, rows_in
from zoo_experiments.verbs.outputs import Outputs
from zoo_experiments.verbs.views import d4_views

if TYPE_CHECKING:
    from zoo_experiments.verbs.experiment import Experiment

# What a truth is about, where not the whole → the option `readout` of a network that says it.
READOUTS = {"step": "steps", "node": "nodes", "edge": "edges", "pair": "nodes", "point": "points"}


def model_options(pairs: Iterable[str]) -> dict[str, Any]:
    """`["widths=(32, 64)", "pool=avg"]` → {"widths": (32, 64), "pool": "avg"}: Python literals, else text.

    Raises:
        UserError: an entry without `=`.
    """
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"A model option is written NAME=VALUE, for example dropout=0.2; got {pair!r}.")
        try:
            options[name.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            options[name.strip()] = value.strip()
    return options


def build_model(
    experiment: "Experiment",
    *,
    num_classes: int,
    channels: int | None,
    numbers: int = 0,
    symbols: int = 0,
    rows: str = "",
    field: Field = "image",
    edge_types: int = 0,
) -> nn.Module:
    """The model of an experiment, for inputs with this many channels, or symbols of so many kinds.

    Args:
        experiment: its settings.
        num_classes: outputs, for each image, pixel, sequence or step.
        channels: of the inputs; None for symbols.
        numbers: of the whole image, beside its maps.
        symbols: in the vocabulary; 0 where inputs are numbers.
        rows: steps, nodes, edges, pairs or points that have outputs of their own.
        field: what it takes.
        edge_types: kinds of edges for which it has weights of their own; 0 for one.

    Raises:
        UnknownName: the model or an option is not known.
        UserError: an option of another type than its default, or one that is not the user's to set.
    """
    if (kind := zoo.card(experiment.model).kind) != KINDS[field]:
        takes = {"array": "images or sequences", "graph": "graphs", "points": "sets of points"}
        given = {"image": "images", "sequence": "sequences"}.get(field, takes[KINDS[field]])
        raise UserError(f"{experiment.model} takes {takes[kind]}; the data are {given}. `zoo models` lists what fits.")
    options = model_options(experiment.options)
    defaults = zoo.options(experiment.model)
    for name, value in options.items():
        if name in _SET_BY_US:
            raise UserError(f"The model option {name} cannot be given: {_SET_BY_US[name]}.")
        if name in defaults and not _alike(value, defaults[name]):
            raise UserError(
                f"The option {name} of {experiment.model} must be of the kind of its default, {defaults[name]!r}; "
                f"got {value!r}."
            )
    if numbers and "numbers" not in defaults:
        raise UserError(f"{experiment.model} gives no numbers beside its maps; unet does.")
    dtype = {} if experiment.dtype == "float32" else {"dtype": jnp.dtype(experiment.dtype)}
    readout = READOUTS.get(rows, "")
    for what, needed, known in (
        ("symbols", symbols, "lstm"),
        ("readout", readout, {"sequence": "lstm", "graph": "gcn", "points": "dgcnn"}.get(field, "")),
        ("edge_types", edge_types, "gcn"),
    ):
        if needed and what not in defaults:
            raise UserError(f"{experiment.model} has no option {what}, which these data need; {known} has.")
        if needed and what in options:
            raise UserError(f"The model option {what} cannot be given: it follows from the data, here {needed!r}.")
    more = {
        **({"numbers": numbers} if numbers else {}),
        **({"symbols": symbols} if symbols else {}),
        **({"readout": readout} if readout else {}),
        **({"edge_types": edge_types} if edge_types else {}),
    }
    return zoo.create(experiment.model, num_classes=num_classes, in_channels=channels, **options, **dtype, **more)


# Options of models that follow from something else → from what.
_SET_BY_US = {
    "num_classes": "it is the number of classes or targets of the data",
    "numbers": "it is the number of targets beside masks",
    "symbols": "it is the number of symbols in the vocabulary of the data",
    "in_channels": "it is the number of channels of the images",
    "dtype": "use --dtype",
    "axis_name": "training sets it",
}


def _alike(value: Any, default: Any) -> bool:
    """Whether an option is of its default's kind; `None` and other objects as defaults say nothing."""
    if isinstance(default, bool) or not isinstance(default, int | float | str | tuple):
        return not isinstance(default, bool) or isinstance(value, bool)
    if isinstance(default, tuple) and isinstance(value, tuple):
        return not default or all(_alike(entry, default[0]) for entry in value)
    kind = int | float if isinstance(default, float) else type(default)
    return isinstance(value, kind) and not isinstance(value, bool)


def least_points(experiment: "Experiment") -> int:
    """Points that arrays must have room for, so that each can have as many neighbours as the network asks for."""
    if zoo.card(experiment.model).kind != "points":
        return 1
    known = zoo.options(experiment.model) | model_options(experiment.options)
    return known["k"] + 1 if isinstance(known.get("k"), int) else 1


def require_fit(
    experiment: "Experiment", outputs: Outputs, model: nn.Module, shape: tuple[int, ...], field: Field
) -> None:
    """Refuse inputs that the augmentation, the views or the model cannot take, and outputs that do not fit the truth.

    All are traced on shapes alone.

    Raises:
        UserError: says which, and why.
    """
    key, example = jax.random.key(0), example_of(field, shape, least=least_points(experiment))
    given = f" with the options {' '.join(experiment.options)}" if experiment.options else ""

    def traced(what: str, function: Callable[..., Any], *arrays: Any) -> Any:
        try:
            return jax.eval_shape(function, *arrays)
        except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
            raise UserError(f"{what} cannot take {LAYOUT[field].format(shape)}: {error}") from error

    taken = [example]
    if field == "image":
        taken += _augmented(experiment, traced, key, shape)
        if experiment.views == "d4":
            traced("The views d4", d4_views, example)
    elif experiment.augmentation != Augmentation() or experiment.views != "one":
        raise UserError("Augmentation and views are for images; sequences have sequences.random_end.")
    elif experiment.sequences.random_end and outputs.rows:
        raise UserError(
            "sequences.random_end is for one truth of the whole sequence; here every step has its own, and the network "
            "speaks before the end anyway."
        )
    for one in taken:
        said, _ = traced(f"{experiment.model}{given}", model.init_with_output, key, one)
        said = said[0] if outputs.kind == "both" else said
        pixels = jax.tree.leaves(one)[0].shape[1:-1] if outputs.dense else ()
        many = (rows_in(outputs.rows, one),) if outputs.rows else pixels
        if said.shape != (expected := (1, *many, outputs.channels)):
            what = "every pixel" if outputs.dense else f"every {outputs.rows}" if outputs.rows else f"the whole {field}"
            raise UserError(
                f"The truth is about {what}, for which {experiment.model} should give {expected}; it gives "
                f"{said.shape}{given}. `zoo models` says what each takes and gives."
            )


def _augmented(
    experiment: "Experiment", traced: Callable[..., Any], key: jax.Array, shape: tuple[int, ...]
) -> list[jax.ShapeDtypeStruct]:
    """The batch of one image that comes out of the augmentation, where it has another shape."""
    if experiment.augmentation == Augmentation():
        return []
    one = traced("The augmentation", experiment.augmentation, key, jax.ShapeDtypeStruct(shape, jnp.float32))
    return [] if one.shape == shape else [jax.ShapeDtypeStruct((1, *one.shape), one.dtype)]
