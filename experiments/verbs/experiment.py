"""An experiment as a value: data, model, augmentation, optimisation, and what to make of them.

`Experiment` is a frozen dataclass: printable, comparable, written to `config.json`, and the source of the command
line's options.
"""

import ast
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import zoo
from zoo import train
from zoo.augment import Augmentation, d4
from zoo.errors import UserError
from zoo_datasets.loading.catalogue import load
from zoo_datasets.loading.pipeline import batches, in_memory
from zoo_datasets.loading.records import ArraySource, Dataset
from zoo_experiments.verbs.checks import require, require_at_least, require_finite, require_share
from zoo_experiments.verbs.images import Images


@dataclass(frozen=True)
class Optimisation:
    """How the weights are moved.

    Attributes:
        optimiser: adamw, lamb, lion, rmsprop or sgd.
        learning_rate: peak of the schedule.
        warmup: share of the steps over which the learning rate rises linearly; it then falls on a half cosine to 0.
        weight_decay: decoupled, on kernels only.
        momentum: of sgd.
        clip: largest global norm of the gradient; 0 for no clipping.
        accumulate: parts of a batch whose gradients are added before the weights move (saves memory).
        ema: decay of the moving average of the weights, which is then what is evaluated; 0 for none.
        label_smoothing: share of the target spread over all classes.
        class_weights: `balanced` gives every class the same total weight in the loss; `none` every example.

    Raises:
        UserError: a value out of range.
    """

    optimiser: str = "adamw"
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 1e-2
    momentum: float = 0.9
    clip: float = 0.0
    accumulate: int = 1
    ema: float = 0.0
    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"

    def __post_init__(self) -> None:
        require_finite("optimisation.learning_rate", self.learning_rate, positive=True)
        for name in ("warmup", "momentum", "ema", "label_smoothing"):
            require_share(f"optimisation.{name}", getattr(self, name))
        for name in ("weight_decay", "clip"):
            require_finite(f"optimisation.{name}", getattr(self, name))
        require_at_least("optimisation.accumulate", self.accumulate, 1)


@dataclass(frozen=True)
class Experiment:
    """Everything that decides the result of a run.

    Attributes:
        title: one line.
        data: name of a data set (`zoo data list`), or the path of your own .npz, HDF5, FITS file or image folder.
        model: name of a model (`zoo models`).
        options: options of the model as NAME=VALUE, for example `widths=(32, 64)` `dropout=0.2`.
        images: crop, size, scaling and stretch of the images.
        augmentation: random changes of the training images.
        optimisation: how the weights are moved.
        epochs: passes over the training data.
        batch_size: examples per step, over all devices.
        evaluations: how often per training the validation data is evaluated and a checkpoint written.
        views: `d4` averages the outputs over the 8 turns and mirrorings of each image in evaluation; `one` does not.
        select: which weights are kept as the result: those at the end (`last`) or those with the best validation
            accuracy (`best`, an optimistic choice).
        dtype: of the computation; weights and losses stay float32.
        seed: of initialisation, order, augmentation and dropout.
        layer: default layer for Grad-CAM.

    Raises:
        UserError: a value out of range.
    """

    title: str = ""
    data: str = "radio_galaxies"
    model: str = "convnet"
    options: tuple[str, ...] = ()
    images: Images = field(default_factory=Images)
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimisation: Optimisation = field(default_factory=Optimisation)
    epochs: int = 10
    batch_size: int = 64
    evaluations: int = 10
    views: Literal["one", "d4"] = "one"
    select: Literal["last", "best"] = "last"
    dtype: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    layer: str = ""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "evaluations"):
            require_at_least(name, getattr(self, name), 1)
        require(0 <= self.seed < 2**32, "seed", "0 … 2³² − 1", self.seed)
        parts, size = self.optimisation.accumulate, self.batch_size
        require(size % parts == 0, "batch_size", f"a multiple of optimisation.accumulate, {parts}", size)


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


def d4_views(images: jax.Array) -> jax.Array:
    """The 8 turns and mirrorings of square images (B, H, W, C) → (8, B, H, W, C), the identity first."""
    return jnp.stack([jax.vmap(lambda image, g=g: d4(image, g))(images) for g in range(8)])


@dataclass(frozen=True)
class Setup:
    """An experiment with its data in memory and its functions made.

    Attributes:
        experiment: the experiment.
        class_names: names of the classes.
        shape: (H, W, C) of the preprocessed images.
        data: split → records in memory, preprocessed; only the splits asked for.
        record_names: split → name of each record, where the data has names.
        model: the Flax module.
        task: what is minimised and counted.
        optimizer: the Optax transformation.
        steps: number of training steps.
    """

    experiment: Experiment
    class_names: tuple[str, ...]
    shape: tuple[int, ...]
    data: Mapping[str, ArraySource]
    record_names: Mapping[str, tuple[str, ...]]
    model: nn.Module
    task: train.Task
    optimizer: optax.GradientTransformation
    steps: int

    @property
    def example(self) -> np.ndarray:
        """One preprocessed image with a batch axis, zeros: only its shape matters."""
        return np.zeros((1, *self.shape), np.float32)

    def state(self) -> train.State:
        """The state before the first step."""
        key = jax.random.key(self.experiment.seed)
        ema = self.experiment.optimisation.ema > 0
        return train.create_state(self.model, self.example, self.optimizer, key, ema=ema)

    def step(self) -> Callable[..., Any]:
        """The pure training step."""
        how = self.experiment.optimisation
        augment = self.experiment.augmentation
        update = train.update_fn(
            self.model,
            self.task,
            self.optimizer,
            augment=None if augment == Augmentation() else augment,
            accumulate=how.accumulate,
        )
        return train.make_step(update, ema_decay=how.ema or None)

    def batches(self, start: int = 0) -> Iterable[Mapping[str, np.ndarray]]:
        """Training batches from number `start` on."""
        e = self.experiment
        shard = (jax.process_index(), jax.process_count())
        return batches(
            self.data["train"], batch_size=e.batch_size, seed=e.seed, epochs=e.epochs, shard=shard, start=start
        )

    def evaluation(self) -> "Evaluation":
        """A function (variables, split) → (outputs, sums), compiled once."""
        views = d4_views if self.experiment.views == "d4" else None
        return Evaluation(self, jax.jit(train.make_evaluation(self.model, self.task, views=views)))


@dataclass(frozen=True)
class Evaluation:
    """Outputs and merged sums of a network over a split, every record once."""

    setup: Setup
    function: Callable[..., Any]

    def __call__(
        self, variables: Mapping[str, Any], source: ArraySource, *, batch_size: int = 50
    ) -> tuple[np.ndarray, Any]:
        """Evaluate `variables` on `source`: outputs (N, K) and sums."""
        rows, total = [], None
        with batches(source, batch_size=min(batch_size, len(source)), shuffle=False) as loader:
            for batch in loader:
                outputs, sums = self.function(variables, {k: v for k, v in batch.items() if k in _FOR_THE_NETWORK})
                rows.append(np.asarray(outputs)[batch["mask"] > 0])
                total = sums if total is None else jax.tree.map(jnp.add, total, sums)
        return np.concatenate(rows), jax.device_get(total)

    def numbers(self, variables: Mapping[str, Any], split: str = "validation") -> dict[str, Any]:
        """Metrics on a split."""
        _, sums = self(variables, self.setup.data[split])
        return train.finalise(self.setup.task, sums)


_FOR_THE_NETWORK = ("image", "label", "mask")


def setup(experiment: Experiment, *, splits: Iterable[str] = ("train", "validation")) -> Setup:
    """Load the data of an experiment and make its functions.

    Raises:
        UserError: the data does not fit the model or the options.
    """
    dataset = load(experiment.data, labels=True, seed=0)
    return assemble(experiment, dataset, splits=splits)


def assemble(experiment: Experiment, dataset: Dataset, *, splits: Iterable[str]) -> Setup:
    """`setup` for a data set that is already loaded."""
    if dataset.class_names is None:
        raise UserError(f"{dataset.name} has no labels: training and evaluation need them, `zoo predict` does not.")
    missing = [split for split in splits if split not in dataset.splits]
    if missing:
        raise UserError(f"{dataset.name} has no split {missing[0]!r}; there are: {', '.join(dataset.splits)}.")
    classes = len(dataset.class_names)
    data = {name: in_memory(dataset.splits[name], experiment.images, num_classes=classes) for name in splits}
    shapes = {name: source.arrays["image"].shape[1:] for name, source in data.items()}
    if len(set(shapes.values())) > 1:
        raise UserError(f"The splits of {dataset.name} have images of different shapes: {shapes}.")
    shape = next(iter(shapes.values()))
    return make(experiment, dataset.class_names, shape, data=data, record_names=dataset.record_names)


def make(
    experiment: Experiment,
    class_names: tuple[str, ...],
    shape: tuple[int, ...],
    *,
    data: Mapping[str, ArraySource] | None = None,
    record_names: Mapping[str, tuple[str, ...]] | None = None,
) -> Setup:
    """The functions of an experiment; without data, enough to restore its weights and predict."""
    data = data or {}
    how = experiment.optimisation
    weights = None
    if how.class_weights == "balanced" and "train" in data:
        counts = np.bincount(data["train"].arrays["label"], minlength=len(class_names))
        absent = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
        if absent:
            raise UserError(f"Balanced class weights need training examples of every class; {absent} have none.")
        weights = np.asarray(train.balanced_weights(counts)).tolist()
    task = train.classification(class_weights=weights, label_smoothing=how.label_smoothing, class_names=class_names)
    examples = len(data["train"]) if "train" in data else experiment.batch_size
    steps = max(1, -(-experiment.epochs * examples // experiment.batch_size))
    schedule = train.warmup_cosine(how.learning_rate, steps=steps, warmup=int(how.warmup * steps))
    optimizer = train.optimiser(
        how.optimiser, schedule, weight_decay=how.weight_decay, momentum=how.momentum, clip=how.clip or None
    )
    model = build_model(experiment, num_classes=len(class_names), channels=shape[-1])
    _require_fit(experiment, model, shape)
    return Setup(experiment, class_names, shape, data, dict(record_names or {}), model, task, optimizer, steps)


def build_model(experiment: Experiment, *, num_classes: int, channels: int) -> nn.Module:
    """The model of an experiment, for images with this many channels.

    Raises:
        UnknownName: the model or an option is not known.
        UserError: an option of another type than its default, or one that is not the user's to set.
    """
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
    dtype = {} if experiment.dtype == "float32" else {"dtype": jnp.dtype(experiment.dtype)}
    return zoo.create(experiment.model, num_classes=num_classes, in_channels=channels, **options, **dtype)


# Options of models that follow from something else → from what.
_SET_BY_US = {
    "num_classes": "it is the number of classes of the data",
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


def _require_fit(experiment: Experiment, model: nn.Module, shape: tuple[int, ...]) -> None:
    """Refuse images that the augmentation, the views or the model cannot take, by tracing them on shapes alone."""
    key, image = jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32)

    def traced(what: str, function: Callable[..., Any], *arrays: Any) -> Any:
        try:
            return jax.eval_shape(function, *arrays)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise UserError(f"{what} cannot take images {shape} (height, width, channels): {error}") from error

    def batch_of_one(one: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((1, *one.shape), one.dtype)

    augmented = traced("The augmentation", experiment.augmentation, key, image)
    if experiment.views == "d4":
        traced("The views d4", d4_views, batch_of_one(image))
    given = f" with the options {' '.join(experiment.options)}" if experiment.options else ""
    for one in {image.shape: image, augmented.shape: augmented}.values():
        traced(f"{experiment.model}{given}", model.init, key, batch_of_one(one))


def as_json(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain dicts, lists, numbers and text."""
    return _plain(dataclasses.asdict(experiment))


def from_json(values: Mapping[str, Any]) -> Experiment:
    """The inverse of `as_json`."""
    parts = {"images": Images, "augmentation": Augmentation, "optimisation": Optimisation}
    known = {name: parts[name](**_tuples(value)) if name in parts else value for name, value in _tuples(values).items()}
    return Experiment(**known)


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Lines `name: a → b` for the entries in which two nested dicts differ."""
    lines = []
    for name in sorted(set(a) | set(b)):
        left, right = a.get(name), b.get(name)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            lines += differences(left, right, f"{prefix}{name}.")
        elif left != right:
            lines.append(f"{prefix}{name}: {left!r} → {right!r}")
    return lines


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
