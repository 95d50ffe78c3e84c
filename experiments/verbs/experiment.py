"""An experiment as a value: data, model, augmentation, optimisation, and what to make of them.

`Experiment` is a frozen dataclass: printable, comparable, written to `config.json`, and the source of the command
line's options.
"""

import ast
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from zoo_datasets.loading.buckets import bucket_lengths, require_sequences
from zoo_datasets.loading.catalogue import load
from zoo_datasets.loading.pipeline import batch_count, batches, in_memory
from zoo_datasets.loading.records import ArraySource, Dataset
from zoo_experiments.verbs.checks import require, require_at_least, require_finite, require_share
from zoo_experiments.verbs.images import Images
from zoo_experiments.verbs.outputs import Outputs, is_sequential, outputs_of
from zoo_experiments.verbs.sequences import Sequences, random_end

# Field of the records that a network takes.
Field = Literal["image", "sequence"]


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
        class_weights: `balanced` gives every class the same total weight in the loss; `none` every example, or pixel.
        loss: of classes or masks of pixels: `cross_entropy`, `focal` (Lin+17: rare pixels are not drowned by the many
            easy ones), `dice` (the overlap itself) or `cross_entropy+dice`.
        gamma: exponent of the focal loss; 0 makes it cross-entropy.
        huber: for regression, error in standard deviations of the target from which on the loss grows linearly, not
            quadratically, so that a few wild examples do not rule; 0 for never.
        beta: where standard deviations are predicted too, how much of its weight an error of small variance loses in
            the likelihood (Seitzer+22), 0 … 1: with 1 the means learn as from squared errors.

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
    huber: float = 0.0
    beta: float = 0.0
    loss: Literal["cross_entropy", "focal", "dice", "cross_entropy+dice"] = "cross_entropy"
    gamma: float = 2.0

    def __post_init__(self) -> None:
        require_finite("optimisation.learning_rate", self.learning_rate, positive=True)
        for name in ("warmup", "momentum", "ema", "label_smoothing"):
            require_share(f"optimisation.{name}", getattr(self, name))
        for name in ("weight_decay", "clip", "huber", "gamma"):
            require_finite(f"optimisation.{name}", getattr(self, name))
        require(0 <= self.beta <= 1, "optimisation.beta", "in 0 … 1", self.beta)
        require_at_least("optimisation.accumulate", self.accumulate, 1)


@dataclass(frozen=True)
class Experiment:
    """Everything that decides the result of a run.

    Attributes:
        title: one line.
        data: name of a data set (`zoo data list`), or the path of your own .npz, HDF5, FITS file or image folder.
        model: name of a model (`zoo models`).
        options: options of the model as NAME=VALUE, for example `widths=(32, 64)` `dropout=0.2`.
        learn: which truth of the data, where it has several: `label`, `target`, `masks`, or `both` of the last two;
            when empty the only one, or masks before targets before labels.
        spread: for maps of numbers, whether the network predicts their standard deviations too.
        images: crop, size, scaling and stretch of the images.
        sequences: compression, ends and array lengths of the sequences, where the data are sequences.
        augmentation: random changes of the training images.
        optimisation: how the weights are moved.
        epochs: passes over the training data.
        batch_size: examples per step, over all devices.
        evaluations: how often per training the validation data is evaluated and a checkpoint written.
        views: `d4` averages the outputs over the 8 turns and mirrorings of each image in evaluation; `one` does not.
        select: which weights are kept as the result: those at the end (`last`) or those with the best validation
            accuracy, Dice coefficient or R² (`best`, an optimistic choice).
        dtype: of the computation; weights and losses stay float32.
        train_examples: number of training records that are used, 0 for all: a random choice by the seed, with the
            shares of the classes kept; a smaller choice is part of a larger one.
        score: metric that stands for the result in tables; accuracy, dice or r2 when empty.
        baseline: what the baseline models of `zoo baseline` are given: `features` made from the images by hand, or the
            name of a field of the data. Where pixels have the truth, features of the pixels and their surroundings.
        properties: fields of the records against which the report draws the score of each image.
        seed: of initialisation, order, augmentation, dropout and choice of training records.
        layer: default layer for Grad-CAM.

    Raises:
        UserError: a value out of range.
    """

    title: str = ""
    data: str = "radio_galaxies"
    model: str = "convnet"
    options: tuple[str, ...] = ()
    learn: Literal["", "label", "target", "masks", "both"] = ""
    spread: bool = False
    images: Images = field(default_factory=Images)
    sequences: Sequences = field(default_factory=Sequences)
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimisation: Optimisation = field(default_factory=Optimisation)
    epochs: int = 10
    batch_size: int = 64
    evaluations: int = 10
    views: Literal["one", "d4"] = "one"
    select: Literal["last", "best"] = "last"
    dtype: Literal["float32", "bfloat16"] = "float32"
    train_examples: int = 0
    score: str = ""
    baseline: str = "features"
    properties: tuple[str, ...] = ()
    seed: int = 0
    layer: str = ""

    def __post_init__(self) -> None:
        require_at_least("train_examples", self.train_examples, 0)
        for name in ("epochs", "batch_size", "evaluations"):
            require_at_least(name, getattr(self, name), 1)
        require(0 <= self.seed < 2**32, "seed", "0 … 2³² − 1", self.seed)
        parts, size = self.optimisation.accumulate, self.batch_size
        require(size % parts == 0, "batch_size", f"a multiple of optimisation.accumulate, {parts}", size)

    def preparation(self, field: Field) -> Images | Sequences:
        """What makes of a record what a network takes."""
        return self.sequences if field == "sequence" else self.images


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


def d4_unview(outputs: jax.Array) -> jax.Array:
    """Turn maps (8, B, H, W, K) of the views of `d4_views` back, so that all show the image as it was."""
    # A quarter turn is undone by three; mirrorings undo themselves.
    inverse = (0, 3, 2, 1, 4, 5, 6, 7)
    return jnp.stack([jax.vmap(lambda one, g=g: d4(one, g))(outputs[i]) for i, g in enumerate(inverse)])


@dataclass(frozen=True)
class Setup:
    """An experiment with its data in memory and its functions made.

    Attributes:
        experiment: the experiment.
        outputs: what the outputs of the network mean.
        field: field of the records that the network takes, `image` or `sequence`.
        shape: (H, W, C) of the preprocessed images, or (T, …) of the sequences.
        channels: name of each channel of the sequences → its unit; empty where there are none, or no names.
        vocabulary: what the whole numbers of sequences of symbols stand for; empty elsewhere.
        data: split → records in memory, preprocessed; only the splits asked for.
        record_names: split → name of each record, where the data has names.
        model: the Flax module.
        task: what is minimised and counted.
        optimizer: the Optax transformation.
        steps: number of training steps.
    """

    experiment: Experiment
    outputs: Outputs
    shape: tuple[int, ...]
    data: Mapping[str, ArraySource]
    record_names: Mapping[str, tuple[str, ...]]
    model: nn.Module
    task: train.Task
    optimizer: optax.GradientTransformation
    steps: int
    field: Field = "image"
    channels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    vocabulary: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty for regression."""
        return self.outputs.class_names

    @property
    def example(self) -> Any:
        """One input of the network with a batch axis, zeros: only its shape matters."""
        return _example(self.field, self.shape)

    def inputs(self, arrays: Mapping[str, np.ndarray]) -> Any:
        """What the network takes, of stacked records."""
        return zoo.Sequence(arrays["sequence"], arrays["length"]) if self.field == "sequence" else arrays["image"]

    @property
    def buckets(self) -> tuple[int, ...]:
        """Lengths of the arrays of sequences in training; none for images, and where all sequences are equally long."""
        if self.field == "image":
            return ()
        found = bucket_lengths(self.data["train"].arrays["length"], self.experiment.sequences.buckets)
        return () if found == self.shape[:1] else found

    @property
    def batches_per_epoch(self) -> float:
        """Batches in which every training record is once; ends of buckets are filled up, other batches run on."""
        e = self.experiment
        return self.steps / e.epochs if self.buckets else len(self.data["train"]) / e.batch_size

    def parts(self, raw: Any) -> tuple[tuple["Setup", np.ndarray], ...]:
        """This setup with the network's outputs; for masks beside numbers, one for each with its part of them."""
        if self.outputs.kind != "both":
            return ((self, raw),)
        how, data = self.experiment.optimisation, self.data.get("train")
        made = (
            dataclasses.replace(self, outputs=one, task=_task(how, one, data, self.field)) for one in self.outputs.parts
        )
        return tuple(zip(made, raw, strict=True))

    def state(self) -> train.State:
        """The state before the first step."""
        key = jax.random.key(self.experiment.seed)
        ema = self.experiment.optimisation.ema > 0
        return train.create_state(self.model, self.example, self.optimizer, key, ema=ema)

    def step(self) -> Callable[..., Any]:
        """The pure training step."""
        how = self.experiment.optimisation
        augment = self.experiment.augmentation
        changes = {"together": augment.together} if self.outputs.dense else {"augment": augment}
        changes = {} if augment == Augmentation() else changes
        if self.field == "sequence" and self.experiment.sequences.random_end:
            changes = {"augment": random_end}
        update = train.update_fn(
            self.model,
            self.task,
            self.optimizer,
            **changes,
            accumulate=how.accumulate,
        )
        return train.make_step(update, ema_decay=how.ema or None)

    def batches(self, start: int = 0) -> Iterable[Mapping[str, np.ndarray]]:
        """Training batches from number `start` on."""
        e = self.experiment
        shard = (jax.process_index(), jax.process_count())
        return batches(
            self.data["train"],
            batch_size=e.batch_size,
            seed=e.seed,
            epochs=e.epochs,
            shard=shard,
            start=start,
            buckets=self.buckets,
        )

    def evaluation(self) -> "Evaluation":
        """A function (variables, split) → (outputs, sums), compiled once."""
        views = d4_views if self.experiment.views == "d4" else None
        unview = d4_unview if self.outputs.dense else None
        return Evaluation(self, jax.jit(train.make_evaluation(self.model, self.task, views=views, unview=unview)))


@dataclass(frozen=True)
class Evaluation:
    """Outputs and merged sums of a network over a split, every record once."""

    setup: Setup
    function: Callable[..., Any]

    def __call__(self, variables: Mapping[str, Any], source: ArraySource, *, batch_size: int = 50) -> tuple[Any, Any]:
        """Evaluate `variables` on `source`: outputs (N, …, K), a tuple of them where there are parts, and sums."""
        rows, total = [], None
        with batches(source, batch_size=min(batch_size, len(source)), shuffle=False) as loader:
            for batch in loader:
                outputs, sums = self.function(variables, {k: v for k, v in batch.items() if k in _FOR_THE_NETWORK})
                real = batch["mask"] > 0
                rows.append(jax.tree.map(lambda leaf, real=real: np.asarray(leaf)[real], outputs))
                total = sums if total is None else jax.tree.map(jnp.add, total, sums)
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *rows), jax.device_get(total)

    def numbers(self, variables: Mapping[str, Any], split: str = "validation") -> dict[str, Any]:
        """Metrics on a split."""
        _, sums = self(variables, self.setup.data[split])
        return train.finalise(self.setup.task, sums)


_FOR_THE_NETWORK = ("image", "sequence", "length", "label", "target", "masks", "valid", "mask")


def setup(
    experiment: Experiment, *, splits: Iterable[str] = ("train", "validation"), outputs: Outputs | None = None
) -> Setup:
    """Load the data of an experiment and make its functions.

    Args:
        experiment: its settings.
        splits: which splits to read.
        outputs: what the outputs mean, when a run has fixed it; else it follows from the data, and for regression the
            training split must be among the splits.

    Raises:
        UserError: the data does not fit the model or the options.
    """
    dataset = load(experiment.data, labels=True, seed=0)
    return assemble(experiment, dataset, splits=splits, outputs=outputs)


def assemble(
    experiment: Experiment, dataset: Dataset, *, splits: Iterable[str], outputs: Outputs | None = None
) -> Setup:
    """`setup` for a data set that is already loaded."""
    found = outputs_of(dataset, learn=experiment.learn, spread=experiment.spread)
    if outputs is not None and outputs.names != found.names:
        raise UserError(
            f"{dataset.name} has {found.kind} of {found.names}, the network was trained on {outputs.names}."
        )
    missing = [split for split in splits if split not in dataset.splits]
    if missing:
        raise UserError(f"{dataset.name} has no split {missing[0]!r}; there are: {', '.join(dataset.splits)}.")
    classes = len(found.class_names) or None
    field = "sequence" if is_sequential(dataset) else "image"
    for name in splits:
        if len(source := dataset.splits[name]) and field not in (record := source[0]):
            raise UserError(
                f"{dataset.name} has records of {', '.join(record)}: graphs or sets of points. Experiments train on "
                "images and sequences so far; in Python, zoo_datasets.loading.catalogue.load reads these."
            )
    data = {
        name: in_memory(dataset.splits[name], experiment.preparation(field), num_classes=classes) for name in splits
    }
    shapes = {name: source.arrays[field].shape[1:] for name, source in data.items()}
    if len(set(shapes.values())) > 1:
        raise UserError(f"The splits of {dataset.name} have {field}s of different shapes: {shapes}.")
    shape = next(iter(shapes.values()))
    if "train" in data and experiment.train_examples:
        data["train"] = chosen(data["train"], experiment.train_examples, seed=experiment.seed)
    for name, source in data.items():
        if field == "sequence":
            symbols = len(dataset.vocabulary or ()) if len(shape) == 1 else 0
            require_sequences(f"{dataset.name}, {name}", source.arrays, symbols=symbols)
        else:
            require_truth(f"{dataset.name}, {name}", source.arrays, found)
    if outputs is None and found.targets:
        outputs = found.standardised_by(data["train"].arrays["target"], _valid(data["train"].arrays, found))
    channels = {**(dataset.channels or {}), **dict.fromkeys(experiment.sequences.add, "")}
    return make(
        experiment,
        outputs or found,
        shape,
        data=data,
        record_names=dataset.record_names,
        field=field,
        channels=channels,
        vocabulary=dataset.vocabulary or (),
    )


def _valid(arrays: Mapping[str, np.ndarray], outputs: Outputs) -> np.ndarray | None:
    """Which pixels or steps have a truth that counts, (N, …); None where all have."""
    if not outputs.steps:
        return arrays.get("valid")
    return np.asarray(train.counted_steps(arrays, arrays["sequence"].shape[1]))


def chosen(source: ArraySource, count: int, *, seed: int) -> ArraySource:
    """`count` records at random, with the shares of the classes kept up to rounding; nested in `count`.

    Raises:
        UserError: there are not that many, or a class would be left without a record.
    """
    if count > len(source):
        raise UserError(f"train_examples asks for {count} records, there are {len(source)}.")
    labels = source.arrays.get("label", np.zeros(len(source), int))
    # Images whose pixels have classes are all of one kind.
    labels = labels if labels.ndim == 1 else np.zeros(len(source), int)
    order = np.random.default_rng([seed, 1]).permutation(len(source))
    # Each record's rank among those of its class, as a share of the class: the first ones are a stratified choice.
    rank = np.empty(len(source))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = (np.arange(members.size) + 0.5) / members.size
    kept = order[np.argsort(rank[order], kind="stable")][:count]
    lost = set(np.unique(labels)) - set(np.unique(labels[kept]))
    if lost:
        raise UserError(f"With train_examples {count} the class {min(lost)} has no training record; take more.")
    return ArraySource(source.take(np.sort(kept)))


def make(
    experiment: Experiment,
    outputs: Outputs,
    shape: tuple[int, ...],
    *,
    data: Mapping[str, ArraySource] | None = None,
    record_names: Mapping[str, tuple[str, ...]] | None = None,
    field: Field = "image",
    channels: Mapping[str, str] | None = None,
    vocabulary: tuple[str, ...] = (),
) -> Setup:
    """The functions of an experiment; without data, enough to restore its weights and predict."""
    data = data or {}
    how = experiment.optimisation
    task = _task(how, outputs, data.get("train"), field)
    model = build_model(
        experiment,
        num_classes=outputs.channels,
        channels=shape[-1] if len(shape) > 1 else None,
        numbers=len(outputs.targets) if outputs.kind == "both" else 0,
        symbols=len(vocabulary) if len(shape) == 1 else 0,
        steps=outputs.steps,
    )
    more = {"field": field, "channels": channels or {}, "vocabulary": tuple(vocabulary)}
    made = Setup(experiment, outputs, shape, data, dict(record_names or {}), model, task, None, 1, **more)
    steps = experiment.epochs
    if "train" in data:
        size = experiment.batch_size
        steps = batch_count(data["train"], batch_size=size, epochs=experiment.epochs, buckets=made.buckets)
    schedule = train.warmup_cosine(how.learning_rate, steps=steps, warmup=int(how.warmup * steps))
    optimizer = train.optimiser(
        how.optimiser, schedule, weight_decay=how.weight_decay, momentum=how.momentum, clip=how.clip or None
    )
    _require_fit(experiment, outputs, model, shape, field)
    return dataclasses.replace(made, optimizer=optimizer, steps=steps)


def require_truth(where: str, arrays: Mapping[str, np.ndarray], outputs: Outputs) -> None:
    """Refuse truth that does not belong to the pixels of its images, or masks of other values than 0 and 1.

    Args:
        where: the data and split, for the message.
        arrays: stacked fields of the records.
        outputs: what the network says.

    Raises:
        UserError: names the field and both shapes, or the value.
    """
    if not outputs.dense:
        return
    sizes = arrays["image"].shape[1:-1]
    for name in (outputs.truth, "valid", "objects"):
        if name in arrays and arrays[name].shape[1 : 1 + len(sizes)] != sizes:
            raise UserError(
                f"{where}: the field {name} should have a value for each pixel of the images {sizes}, got "
                f"{arrays[name].shape[1:]}. Truth is not cropped or resized: set images.size to 0."
            )
    if outputs.masks:
        masks = arrays["masks"]
        if masks.shape[1:] != (*sizes, len(outputs.masks)):
            expected = (*sizes, len(outputs.masks))
            raise UserError(f"{where}: masks should have the shape {expected}, got {masks.shape[1:]}.")
        wrong = np.flatnonzero(((masks != 0) & (masks != 1)).reshape(len(masks), -1).any(1))
        if len(wrong):
            raise UserError(f"{where}, record {wrong[0]}: masks should be 0 or 1, got {masks[wrong[0]].max()}.")


def _task(how: Optimisation, outputs: Outputs, source: ArraySource | None, field: str) -> train.Task:
    if field == "sequence":
        return train.on_sequences(_task(how, outputs, source, "image"), every_step=outputs.steps)
    if outputs.kind == "both":
        return train.joint(*(_task(how, part, source, field) for part in outputs.parts))
    weights = None if outputs.targets or outputs.masks else _class_weights(how, outputs, source)
    if outputs.dense:
        return dense_task(how, outputs, class_weights=weights)
    if outputs.targets:
        return train.regression(centre=outputs.centre, scale=outputs.scale, delta=how.huber or np.inf)
    if how.loss != "cross_entropy":
        raise UserError(f"optimisation.loss is {how.loss!r}, which is for classes and masks of pixels.")
    return train.classification(
        class_weights=weights, label_smoothing=how.label_smoothing, class_names=outputs.class_names
    )


def dense_task(
    how: Optimisation,
    outputs: Outputs,
    *,
    class_weights: Sequence[float] | None = None,
    boundary: float | None = None,
) -> train.Task:
    """The task of a network that says something about every pixel; the first class is the background.

    Args:
        how: loss and its options.
        outputs: what the network says.
        class_weights: of the classes in the loss.
        boundary: tolerance in pixels within which boundaries agree, when they are counted.
    """
    if outputs.targets:
        return train.maps(
            centre=outputs.centre,
            scale=outputs.scale,
            delta=how.huber or np.inf,
            heteroscedastic=outputs.spread,
            beta=how.beta,
            names=outputs.names,
        )
    if outputs.masks:
        return train.masks(names=outputs.masks, loss=how.loss, gamma=how.gamma, boundary=boundary)
    return train.segmentation(
        class_names=outputs.class_names,
        class_weights=class_weights,
        loss=how.loss,
        gamma=how.gamma,
        label_smoothing=how.label_smoothing,
        background=0,
        boundary=boundary,
    )


def _class_weights(how: Optimisation, outputs: Outputs, source: ArraySource | None) -> list[float] | None:
    weights = None
    if how.class_weights == "balanced" and source is not None:
        labels = source.arrays["label"]
        # Steps beyond the end of a sequence have no class.
        labels = labels[_valid(source.arrays, outputs) > 0] if outputs.steps else labels.ravel()
        counts = np.bincount(labels, minlength=len(outputs.class_names))
        absent = [name for name, count in zip(outputs.class_names, counts, strict=True) if count == 0]
        if absent:
            raise UserError(f"Balanced class weights need training examples of every class; {absent} have none.")
        weights = np.asarray(train.balanced_weights(counts)).tolist()
    return weights


def build_model(
    experiment: Experiment,
    *,
    num_classes: int,
    channels: int | None,
    numbers: int = 0,
    symbols: int = 0,
    steps: bool = False,
) -> nn.Module:
    """The model of an experiment, for inputs with this many channels, or symbols of so many kinds.

    Args:
        experiment: its settings.
        num_classes: outputs, for each image, pixel, sequence or step.
        channels: of the inputs; None for symbols.
        numbers: of the whole image, beside its maps.
        symbols: in the vocabulary; 0 where inputs are numbers.
        steps: whether every step of a sequence has outputs of its own.

    Raises:
        UnknownName: the model or an option is not known.
        UserError: an option of another type than its default, or one that is not the user's to set.
    """
    if (kind := zoo.card(experiment.model).kind) != "array":
        takes = {"graph": "graphs", "points": "sets of points"}[kind]
        raise UserError(f"{experiment.model} takes {takes}; experiments train on images and sequences so far.")
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
    for what, needed in (("symbols", symbols), ("readout", steps)):
        if needed and what not in defaults:
            raise UserError(f"{experiment.model} has no option {what}, which these sequences need; lstm has.")
    if steps and "readout" in options:
        raise UserError("The model option readout cannot be given: every step has a truth, so that it is steps.")
    more = {
        **({"numbers": numbers} if numbers else {}),
        **({"symbols": symbols} if symbols else {}),
        **({"readout": "steps"} if steps else {}),
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


def _example(field: str, shape: tuple[int, ...]) -> Any:
    if field == "image":
        return np.zeros((1, *shape), np.float32)
    dtype = np.int32 if len(shape) == 1 else np.float32
    return zoo.Sequence(np.zeros((1, *shape), dtype), np.full(1, shape[0], np.int32))


def _require_fit(
    experiment: Experiment, outputs: Outputs, model: nn.Module, shape: tuple[int, ...], field: str
) -> None:
    """Refuse inputs that the augmentation, the views or the model cannot take, and outputs that do not fit the truth.

    All are traced on shapes alone.
    """
    key, example = jax.random.key(0), _example(field, shape)
    given = f" with the options {' '.join(experiment.options)}" if experiment.options else ""
    images = field == "image"

    def traced(what: str, function: Callable[..., Any], *arrays: Any) -> Any:
        try:
            return jax.eval_shape(function, *arrays)
        except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
            layout = "images {} (height, width, channels)" if images else "sequences {} (steps, channels)"
            raise UserError(f"{what} cannot take {layout.format(shape)}: {error}") from error

    taken = [example]
    if images:
        taken += _augmented(experiment, traced, key, shape)
        if experiment.views == "d4":
            traced("The views d4", d4_views, example)
    elif experiment.augmentation != Augmentation() or experiment.views != "one":
        raise UserError("Augmentation and views are for images; sequences have sequences.random_end.")
    elif experiment.sequences.random_end and outputs.steps:
        raise UserError(
            "sequences.random_end is for one truth of the whole sequence; here every step has its own, and the network "
            "speaks before the end anyway."
        )
    for one in taken:
        said, _ = traced(f"{experiment.model}{given}", model.init_with_output, key, one)
        said = said[0] if outputs.kind == "both" else said
        whole = jax.tree.leaves(one)[0].shape
        many = whole[1:-1] if outputs.dense else whole[1:2] if outputs.steps else ()
        if said.shape != (expected := (1, *many, outputs.channels)):
            what = "every pixel" if outputs.dense else "every step" if outputs.steps else f"the whole {field}"
            raise UserError(
                f"The truth is about {what}, for which {experiment.model} should give {expected}; it gives "
                f"{said.shape}{given}. `zoo models` says what each takes and gives."
            )


def _augmented(
    experiment: Experiment, traced: Callable[..., Any], key: jax.Array, shape: tuple[int, ...]
) -> list[jax.ShapeDtypeStruct]:
    """The batch of one image that comes out of the augmentation, where it has another shape."""
    if experiment.augmentation == Augmentation():
        return []
    one = traced("The augmentation", experiment.augmentation, key, jax.ShapeDtypeStruct(shape, jnp.float32))
    return [] if one.shape == shape else [jax.ShapeDtypeStruct((1, *one.shape), one.dtype)]


def as_json(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain dicts, lists, numbers and text."""
    return _plain(dataclasses.asdict(experiment))


def from_json(values: Mapping[str, Any]) -> Experiment:
    """The inverse of `as_json`."""
    parts = {"images": Images, "sequences": Sequences, "augmentation": Augmentation, "optimisation": Optimisation}
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
