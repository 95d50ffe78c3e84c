"""An experiment as a value: data, model, augmentation, optimisation, and what to make of them.

`Experiment` is a frozen dataclass: printable, comparable, written to `config.json`, and the source of the command
line's options.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo import train
from zoo.augment import Augmentation
from zoo.errors import UserError
from zoo.models.on_padded import OnPadded
from zoo_datasets.loading import ragged
from zoo_datasets.loading.buckets import bucket_lengths, padding_share, require_sequences
from zoo_datasets.loading.catalogue import load
from zoo_datasets.loading.pipeline import batch_count, batches, in_memory
from zoo_datasets.loading.records import ArraySource, Dataset
from zoo_experiments.verbs.checks import require, require_at_least, require_finite, require_share
from zoo_experiments.verbs.fields import FOR_THE_NETWORK, Field, example_of, field_of, inputs_of, shape_of
from zoo_experiments.verbs.graphs import COUNT_OF_ROWS, Graphs, Points, redrawn_pairs, require_records
from zoo_experiments.verbs.images import Images
from zoo_experiments.verbs.networks import build_model, least_points, require_fit
from zoo_experiments.verbs.outputs import Outputs, outputs_of
from zoo_experiments.verbs.sequences import Sequences, random_end
from zoo_experiments.verbs.tasks import task_of, valid_of
from zoo_experiments.verbs.views import d4_unview, d4_views


@dataclass(frozen=True)
class Optimisation:
    """How the weights are moved.

    Attributes:
        optimiser: adam, adamw, lamb, lion, rmsprop or sgd.
        learning_rate: peak of the schedule.
        warmup: share of the steps over which the learning rate rises linearly; it then falls on a half cosine to 0.
        weight_decay: on kernels only; of adam a penalty in the gradient, else decoupled.
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
        data: name of a data set (`zoo data list`), or the path of your own .npz, HDF5, FITS file or image folder. In a
            name, `{seed}` stands for the seed: `tudataset/mutag_fold{seed}` has another fold for each.
        model: name of a model (`zoo models`).
        options: options of the model as NAME=VALUE, for example `widths=(32, 64)` `dropout=0.2`.
        learn: which truth of the data, where it has several: `label`, `target`, `masks`, or `both` of the last two;
            when empty the only one, or masks before targets before labels.
        spread: for numbers of pixels or nodes, whether the network predicts their standard deviations too.
        images: crop, size, scaling and stretch of the images.
        sequences: compression, ends and array lengths of the sequences, where the data are sequences.
        graphs: scaling of the features of graphs, and array sizes.
        points: scaling of the channels of points, and array sizes.
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
    graphs: Graphs = field(default_factory=Graphs)
    points: Points = field(default_factory=Points)
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

    @property
    def data_name(self) -> str:
        """The data set, or path, with the seed put in."""
        return self.data.replace("{seed}", str(self.seed))

    def preparation(self, field: Field) -> Images | Sequences | Graphs | Points:
        """What makes of a record what a network takes."""
        return {"image": self.images, "sequence": self.sequences, "graph": self.graphs, "points": self.points}[field]


@dataclass(frozen=True)
class Setup:
    """An experiment with its data in memory and its functions made.

    Attributes:
        experiment: the experiment.
        outputs: what the outputs of the network mean.
        field: what the network takes: images, sequences, graphs or sets of points.
        shape: (H, W, C) of the preprocessed images, (T, …) of the sequences, (C,) of points; of graphs the numbers of
            features of a node, of features of an edge and of types of edges.
        channels: name of each channel of the sequences, nodes or points → its unit; empty where there are no names.
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
        return example_of(self.field, self.shape, least=least_points(self.experiment))

    def inputs(self, arrays: Mapping[str, np.ndarray]) -> Any:
        """What the network takes, of stacked records."""
        return inputs_of(self.field, arrays)

    @property
    def buckets(self) -> tuple[int, ...]:
        """Sizes of the arrays in training, of records of unequal size; none for images, and where all are equal."""
        if self.field == "image":
            return ()
        sizes = ragged.sizes(self.data["train"].arrays)
        if self.field == "points":
            sizes = np.maximum(sizes, least_points(self.experiment))
        found = bucket_lengths(sizes, self.experiment.preparation(self.field).buckets)
        return () if len(found) == 1 and (self.field != "sequence" or found == self.shape[:1]) else found

    @property
    def padding(self) -> float:
        """Share of the steps, nodes, edges or points of an epoch that are padding."""
        source = self.data["train"]
        if isinstance(source, ragged.PaddedSource):
            return ragged.padding_of(source, self.buckets)
        return padding_share(source.arrays["length"], self.buckets) if self.buckets else 0.0

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
            dataclasses.replace(self, outputs=one, task=task_of(how, one, data, self.field))
            for one in self.outputs.parts
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
        if self.outputs.rows == "pair" and self.experiment.graphs.redraw:
            changes = {"together": redrawn_pairs}
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
                outputs, sums = self.function(variables, {k: v for k, v in batch.items() if k in FOR_THE_NETWORK})
                real = batch["mask"] > 0
                rows.append(jax.tree.map(lambda leaf, real=real: np.asarray(leaf)[real], outputs))
                total = sums if total is None else jax.tree.map(jnp.add, total, sums)
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *rows), jax.device_get(total)

    def numbers(self, variables: Mapping[str, Any], split: str = "validation") -> dict[str, Any]:
        """Metrics on a split."""
        _, sums = self(variables, self.setup.data[split])
        return train.finalise(self.setup.task, sums)


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
    dataset = load(experiment.data_name, labels=True, seed=0)
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
    field, classes = field_of(dataset), len(found.class_names) or None
    data = prepared(experiment, dataset, splits=splits, rows=found.rows, num_classes=classes)
    shapes = {name: shape_of(field, source.arrays, edge_types=_types(dataset)) for name, source in data.items()}
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
        outputs = found.standardised_by(data["train"].arrays["target"], valid_of(data["train"].arrays, found))
    channels = (dataset.node_channels if field == "graph" else dataset.channels) or {}
    return make(
        experiment,
        outputs or found,
        shape,
        data=data,
        record_names=dataset.record_names,
        field=field,
        channels={**channels, **dict.fromkeys(experiment.sequences.add, "")},
        vocabulary=dataset.vocabulary or (),
    )


def prepared(
    experiment: Experiment,
    dataset: Dataset,
    *,
    splits: Iterable[str],
    rows: str = "",
    num_classes: int | None = None,
    truth: bool = True,
) -> dict[str, ArraySource]:
    """Splits of a data set in memory, as the network takes them.

    Args:
        experiment: its settings.
        dataset: the data.
        splits: which.
        rows: steps, nodes, edges, pairs or points that have a truth of their own.
        num_classes: labels are 0 … num_classes − 1, when given.
        truth: whether the records have a truth.
    """
    field = field_of(dataset)
    how = experiment.preparation(field)
    if field in ("image", "sequence"):
        return {name: in_memory(dataset.splits[name], how, num_classes=num_classes) for name in splits}
    ready = {}
    for name in splits:
        records = [dataset.splits[name][i] for i in range(len(dataset.splits[name]))]
        require_records(f"{dataset.name}, {name}", records, num_classes=num_classes)
        ready[name] = [how.prepared(record, edge_types=_types(dataset), truth=truth) for record in records]
    counted = COUNT_OF_ROWS.get(rows, "")
    own = dict.fromkeys(("label", "target", "valid"), counted) if rows else {}
    there = {
        name: count for name, count in own.items() if any(name in record for some in ready.values() for record in some)
    }
    return ragged.padded(ready, rows=there, least=least_points(experiment))


def _types(dataset: Dataset) -> int:
    return len(dataset.edge_types or ())


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
    return source.part(np.sort(kept))


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
    task = task_of(how, outputs, data.get("train"), field)
    symbols = field == "sequence" and len(shape) == 1
    model = build_model(
        experiment,
        num_classes=experiment.graphs.embedding if outputs.rows == "pair" else outputs.channels,
        channels=None if symbols else shape[0] if field == "graph" else shape[-1],
        numbers=len(outputs.targets) if outputs.kind == "both" else 0,
        symbols=len(vocabulary) if symbols else 0,
        rows=outputs.rows,
        field=field,
        edge_types=shape[2] if field == "graph" else 0,
    )
    model = OnPadded(model, pairs=outputs.rows == "pair") if field == "graph" else model
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
    require_fit(experiment, outputs, model, shape, field)
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


def as_json(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain dicts, lists, numbers and text."""
    return _plain(dataclasses.asdict(experiment))


def from_json(values: Mapping[str, Any]) -> Experiment:
    """The inverse of `as_json`."""
    parts = {
        "images": Images,
        "sequences": Sequences,
        "graphs": Graphs,
        "points": Points,
        "augmentation": Augmentation,
        "optimisation": Optimisation,
    }
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
