"""`zoo bench models`: a training step of our networks beside that of their twins in PyTorch, on the same CPU.

A step is forward, loss, backward and SGD with momentum, in float32: ours is the step that `zoo train` compiles, state
donated; PyTorch runs eagerly, channels last or contiguous, whichever is faster for the network. Both have all cores of
this process and the same weights; they take turns, so that whatever else the machine does hits both, and the fastest
turn counts, as other work can only add. Networks on graphs stand beside PyTorch Geometric's layers, on one graph of
which each node has a class; it has its edges in a list or, where its layers take that and are faster, as a sparse
matrix.
"""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import zoo
import zoo_experiments
from zoo import train
from zoo.errors import UserError, unknown
from zoo.train.losses import cross_entropy
from zoo.train.task import Batch
from zoo_experiments.verbs.checks import require_at_least
from zoo_experiments.verbs.graph_twins import (
    EDGE_LAYOUTS,
    GRAPH_TWINS,
    POINT_TWINS,
    as_tensors,
    graph_twin,
    load_geometric,
    point_twin,
    random_graph,
    require_geometric,
)
from zoo_experiments.verbs.runs import machine, versions, warn, write_json
from zoo_experiments.verbs.tables import Table
from zoo_experiments.verbs.twins import TWINS, load_from_flax, require_torch, twin

if TYPE_CHECKING:
    import torch

STORE = Path(zoo_experiments.__file__).with_name("speed.json")
BATCH_SIZE = 32

# Names of the models that are measured: those on arrays, on graphs, on sets of points.
MEASURED = (*TWINS, *GRAPH_TWINS, *POINT_TWINS)

# As on a card: graphs, nodes and edges of each, channels of edges, channels of nodes.
_GRAPH = (1, 10_000, 100_000, 0, 64)

# Input shapes other than that on the card, where a step would take too long for a comparison.
SHAPES: Mapping[str, tuple[int, ...]] = {
    "c4_convnet": (16, 64, 64, 1),
    "c4_unet": (8, 64, 64, 1),
    "conv3d": (8, 32, 32, 32, 1),
    "conv_lstm": (8, 10, 32, 32, 1),
    "d4_convnet": (8, 64, 64, 1),
    "d4_resnet": (4, 64, 64, 1),
    "d4_unet": (4, 64, 64, 1),
    "deep_sets": (16, 128, 7),
    "dgcnn": (16, 128, 7),
    "gat": _GRAPH,
    "gcn": _GRAPH,
    "gin": _GRAPH,
    "graphsage": _GRAPH,
    "gru": (64, 100, 32),
    "lstm": (64, 100, 32),
    "mobilenet_v2": (32, 96, 96, 3),
    "particlenet": (16, 128, 7),
    "particlenet_lite": (16, 128, 7),
    "resnet18": (32, 64, 64, 3),
    "resnet34": (32, 64, 64, 3),
    "resnet50": (16, 64, 64, 3),
    "rnn": (64, 100, 32),
    "segnet": (16, 64, 64, 1),
    "unet": (16, 64, 64, 1),
    "unet3d": (4, 32, 32, 32, 1),
    "vgg11": (16, 64, 64, 3),
    "vgg13": (16, 64, 64, 3),
    "vgg16": (16, 64, 64, 3),
    "window": (64, 100, 32),
}

# Options other than those on the card, where its own would be too small for a comparison.
_RECURRENT = {"width": 128, "layers": 2}
_OF_NODES = {"readout": "nodes", "width": 64, "layers": 2}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(("gru", "lstm", "rnn"), _RECURRENT),
    **dict.fromkeys(GRAPH_TWINS, _OF_NODES),
}

# Why a step of ours takes more than `SLOW` times PyTorch's: name → what was found, shown in the table.
SLOW = 1.3
REASONS: Mapping[str, str] = {
    "braai": "3 to 32 channels: XLA's convolutions take 4 tenths, passes over memory (ReLU, pools, dropout) as much",
    "c4_convnet": "two thirds in XLA's convolutions, which reach 50 to 70 GFLOP/s on 32 to 64 channels",
    "c4_unet": "6 tenths in XLA's convolutions of 16 to 192 channels, a third in passes over memory",
    "conv3d": "XLA has no fast convolution of volumes; they are products of copies, which take half of the step",
    "conv_lstm": "4 tenths in the loop's convolutions and their gradients, a third in passes over memory",
    "convnet": "6 tenths in XLA's convolutions, which reach 60 to 70 GFLOP/s on 32 to 64 channels",
    "d4_convnet": "batch 8: 6 tenths in XLA's convolutions, a third in passes over memory",
    "d4_resnet": "batch 4: XLA's convolutions take half, passes over memory (normalisation, poses of kernels) 4 tenths",
    "d4_unet": "6 tenths in XLA's convolutions of 48 to 192 channels, a third in passes over memory",
    "deepmerge": "3 to 32 channels: passes over memory (pools, dropout) take half, XLA's convolutions a third",
    "fcn": "half in XLA's convolutions of 16 to 64 channels, 4 tenths in passes over memory (normalisation, pools)",
    "gru": "memory that is allocated anew at every step takes a sixth of it",
    "lstm": "memory that is allocated anew at every step takes a quarter of a layer's gradient",
    "mobilenet_v2": "depthwise convolutions and normalisation, passes over memory for XLA, take two thirds",
    "segnet": "XLA's convolutions of 16 to 128 channels, and passes over memory (switches), take 45 % each",
    "unet": "half in XLA's convolutions of 16 to 128 channels, a third in passes over memory",
    "unet3d": "XLA has no fast convolution of volumes; they are products of copies, and passes over memory a third",
}

Step = Callable[[], None]

# Quick steps are repeated until a turn lasts this long.
_TURN_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class Row:
    """One network measured.

    Attributes:
        model: its name.
        shape: of the input, (B, …, C), or numbers of graphs, nodes, edges and channels as on a card.
        ours: time of one training step in ms.
        theirs: that of its twin.
        layout: of PyTorch's tensors, the faster one: `"contiguous"` or `"channels_last"`; of edges `"list"` or
            `"sparse"`.
    """

    model: str
    shape: tuple[int, ...]
    ours: float
    theirs: float
    layout: str

    @property
    def ratio(self) -> float:
        """Ours by theirs: below 1 we are faster."""
        return self.ours / self.theirs


def input_shape(name: str) -> tuple[int, ...]:
    """Shape of the batch on which a model is measured: its card's example in a batch of 32, or the one in `SHAPES`."""
    return SHAPES.get(name, (BATCH_SIZE, *zoo.card(name).example[1:]))


def bench_models(
    names: Sequence[str] = MEASURED,
    *,
    steps: int = 10,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Time training steps of models and of their twins, one model after the other; says on standard error which.

    Without PyTorch Geometric models on graphs are left out, which is said there too.

    Args:
        names: of `MEASURED`; the full-size variant of each is measured, or that of `OPTIONS`, with 10 outputs where
            its card leaves the number open and 2 where it has a single one.
        steps: turns each takes after warming up; a turn is one step, or as many as 50 ms hold.
        shapes: name → shape of the inputs, instead of `input_shape`.
        options: of `zoo.create`, for all of them.

    Raises:
        UnknownName: no such model has a twin.
        UserError: no step to time, PyTorch, or PyTorch Geometric for all that is asked for, is not installed, or JAX
            computes on an accelerator.
    """
    for name in names:
        if name not in MEASURED:
            raise unknown("model with a twin in PyTorch", name, MEASURED)
    require_at_least("steps", steps, 1)
    require_torch().set_num_threads(_threads())
    if jax.default_backend() != "cpu":
        raise UserError(
            f"`zoo bench models` compares on the CPU, and JAX runs on {jax.default_backend()}: set JAX_PLATFORMS=cpu."
        )
    rows = []
    for name in _possible(names):
        shape = (shapes or {}).get(name) or input_shape(name)
        warn(f"{name}, {_as_text(name, shape)} …")
        rows.append(row := _bench(name, shape, steps, options or {}))
        warn(f"  {row.ours:.3g} ms, PyTorch ({row.layout}) {row.theirs:.3g} ms")
    return rows


def _possible(names: Sequence[str]) -> Sequence[str]:
    """`names` without models on graphs where there is no PyTorch Geometric."""
    try:
        if set(names) & set(GRAPH_TWINS):
            require_geometric()
    except UserError as error:
        others = [name for name in names if name not in GRAPH_TWINS]
        if not others:
            raise
        warn(f"Left out: {', '.join(name for name in names if name in GRAPH_TWINS)}. {error}")
        return others
    return names


def _bench(name: str, shape: tuple[int, ...], steps: int, options: Mapping[str, Any]) -> Row:
    outputs = zoo.options(name)["num_classes"]
    classes = 10 if outputs is None else max(outputs, 2)
    model = zoo.create(name, **{"num_classes": classes, **OPTIONS.get(name, {}), **options})
    ours, theirs = (_graph_steps if name in GRAPH_TWINS else _array_steps)(name, model, shape)
    first = {}
    for layout, prepare in theirs.items():
        # One network, put into either layout: two would need twice the memory.
        step = prepare()
        first[layout] = min(_seconds(step) for _ in range(3))
    layout = min(first, key=first.__getitem__)
    turns = {"ours": ours, "theirs": theirs[layout]()}
    repeats = {}
    for who, step in turns.items():
        once = min(_seconds(step) for _ in range(2))
        repeats[who] = max(1, math.ceil(_TURN_SECONDS / once))
    times: dict[str, list[float]] = {who: [] for who in turns}
    for _ in range(steps):
        for who, step in turns.items():
            # Threads of the one that has just run wait a moment for more work, on the cores of the other.
            time.sleep(0.02)
            times[who].append(_seconds(step, repeats[who]))
    return Row(name, shape, 1e3 * min(times["ours"]), 1e3 * min(times["theirs"]), layout)


def _array_steps(name: str, model: nn.Module, shape: tuple[int, ...]) -> tuple[Step, dict[str, Callable[[], Step]]]:
    """Our step and, by layout, functions that prepare the twin's."""
    draw = np.random.default_rng(0)
    images = draw.normal(size=shape).astype(np.float32)
    labels = draw.integers(0, model.num_classes, shape[:-1] if zoo.card(name).outputs == "pixels" else shape[:1])
    state = _state(model, images[:1])
    net = (point_twin if name in POINT_TWINS else twin)(model, shape)
    load_from_flax(net, model, state.variables, shape)
    theirs = {layout: _their_step(net, images, labels, layout) for layout in _layouts(shape)}
    return _our_step(model, state, {"image": images, "label": labels}), theirs


def _graph_steps(name: str, model: nn.Module, shape: tuple[int, ...]) -> tuple[Step, dict[str, Callable[[], Step]]]:
    """As `_array_steps`, of a class for each node."""
    draw = np.random.default_rng(0)
    graph = random_graph(draw, shape)
    labels = draw.integers(0, model.num_classes, len(graph.nodes) if model.readout == "nodes" else shape[0])
    state = _state(model, graph)
    net = graph_twin(model, shape[-1])
    load_geometric(net, model, state.variables)
    # All graphs count, which training is told of each of them.
    batch = {"image": graph, "label": labels, "mask": np.ones(shape[0], np.float32)}
    theirs = {}
    for layout in EDGE_LAYOUTS[name]:
        inputs = as_tensors(graph, sparse=layout == "sparse")
        theirs[layout] = lambda inputs=inputs: _descent(net, inputs, labels)
    return _our_step(model, state, batch), theirs


def _state(model: nn.Module, inputs: Any) -> train.State:
    return train.create_state(model, inputs, optax.sgd(0.01, momentum=0.9), jax.random.key(0))


def _our_step(model: nn.Module, state: train.State, batch: Mapping[str, Any]) -> Step:
    # Nothing is counted but the loss, as in the twin.
    task = dataclasses.replace(train.classification(), loss=_mean_cross_entropy, metrics=lambda outputs, batch: {})
    parallel = train.parallelise(train.make_step(train.update_fn(model, task, optax.sgd(0.01, momentum=0.9))))
    batch = parallel.split({**batch, "label": batch["label"].astype(np.int32)})
    held = [parallel.place(state)]

    def step() -> None:
        held[0], sums = parallel(held[0], batch)
        # The whole state: the loss is there before the weights are.
        jax.block_until_ready((held[0].params, sums))

    return step


def _mean_cross_entropy(logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
    values = cross_entropy(logits, batch["label"])
    return values, jnp.ones_like(values)


def _their_step(net: "torch.nn.Module", images: np.ndarray, labels: np.ndarray, layout: str) -> Callable[[], Step]:
    """A function that puts the network into a layout, with a new optimiser, and returns its step."""
    torch = require_torch()
    last = {4: torch.channels_last, 5: torch.channels_last_3d}
    form = last[images.ndim] if layout == "channels_last" else torch.contiguous_format

    def prepare() -> Step:
        for parameter in net.train().parameters():
            # Kernels of group convolutions have more axes than their images, and no such layout.
            if parameter.ndim == images.ndim:
                parameter.data = parameter.data.contiguous(memory_format=form)
        inputs = torch.from_numpy(np.moveaxis(images, -1, 1).copy()).contiguous(memory_format=form)
        return _descent(net, (inputs,), labels)

    return prepare


def _descent(net: "torch.nn.Module", inputs: Sequence[Any], labels: np.ndarray) -> Step:
    """One step of a network that takes `inputs`, with a new optimiser."""
    torch = require_torch()
    targets = torch.from_numpy(labels).long()
    optimiser = torch.optim.SGD(net.train().parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(net(*inputs), targets).backward()
        optimiser.step()

    return step


def _layouts(shape: tuple[int, ...]) -> tuple[str, ...]:
    return ("contiguous", "channels_last") if len(shape) > 3 else ("contiguous",)


def _seconds(step: Step, repeats: int = 1) -> float:
    begun = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - begun) / repeats


def _threads() -> int:
    """Cores that this process may use, as many as JAX takes."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu() -> str:
    """The processor by its name, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def stored(path: Path = STORE) -> dict[str, Any]:
    """What `keep` wrote: rows, machine, versions and date; empty where nothing was kept."""
    return json.loads(path.read_text()) if path.exists() else {}


def keep(rows: Sequence[Row], path: Path = STORE) -> None:
    """Write measurements into the store; those of other models stay, if they are of this machine and these versions.

    Raises:
        UserError: the store has other models, measured on another machine or with other versions.
    """
    made, old = _made_on(), stored(path)
    new = {row.model: dataclasses.asdict(row) for row in rows}
    others = {row["model"]: row for row in old.get("rows", []) if row["model"] not in new}
    # A package that was not there then was needed by none of the rows.
    used = {**old["versions"], **made["versions"]} if others else made["versions"]
    if others and (old["machine"] != made["machine"] or {**used, **old["versions"]} != used):
        raise UserError(
            f"{path} holds {', '.join(others)}, measured elsewhere or with other versions ({old['machine']}, "
            f"{old['versions']}; here {made['machine']}, {made['versions']}): measure all models, or give another "
            "--out."
        )
    found = {**others, **new}
    rows = [found[name] for name in MEASURED if name in found]
    write_json(path, {**made, "versions": used, "date": str(datetime.date.today()), "rows": rows})


def _made_on() -> dict[str, Any]:
    packages = versions()
    used = {name: packages[name] for name in ("python", "jax", "flax")}
    used["torch"] = require_torch().__version__
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        used["torch_geometric"] = importlib.metadata.version("torch_geometric")
    return {"machine": {**machine(), "cpu": _cpu(), "threads": _threads()}, "versions": used}


def read_rows(path: Path = STORE) -> list[Row]:
    """The stored measurements."""
    return [Row(**{**row, "shape": tuple(row["shape"])}) for row in stored(path).get("rows", [])]


def unexplained(rows: Sequence[Row], reasons: Mapping[str, str] = REASONS) -> list[str]:
    """Names of the models that are slower than `SLOW` times PyTorch and have no reason."""
    return [row.model for row in rows if row.ratio > SLOW and row.model not in reasons]


def rows_table(rows: Sequence[Row], *, links: bool = False, reasons: Mapping[str, str] = REASONS) -> Table:
    """Model, input, both times, their ratio, and why where we are slow."""
    cells = [
        (
            f"`{row.model}`" if links else row.model,
            _as_text(row.model, row.shape),
            f"{row.ours:.3g}" if row.ours < 100 else f"{row.ours:.0f}",
            f"{row.theirs:.3g}" if row.theirs < 100 else f"{row.theirs:.0f}",
            f"{row.ratio:.2f}",
            reasons.get(row.model, "") if row.ratio > SLOW else "",
        )
        for row in rows
    ]
    columns = ("model", "input", "zoo, ms", "PyTorch, ms", "zoo / PyTorch", "why")
    if not any(row[-1] for row in cells):
        columns, cells = columns[:-1], [row[:-1] for row in cells]
    return Table(columns, cells, ("zoo, ms", "PyTorch, ms", "zoo / PyTorch"))


def speed_table(path: Path = STORE, *, links: bool = False) -> Table:
    """The stored measurements, with what they were made on."""
    entry = stored(path)
    if not entry:
        return rows_table([])
    made, used = entry["machine"], entry["versions"]
    note = (
        f"{made['cpu']}, {made['threads']} cores; JAX {used['jax']}, PyTorch {used['torch']}, "
        + (f"PyTorch Geometric {used['torch_geometric']}, " if "torch_geometric" in used else "")
        + f"Python {used['python']}; {entry['date']}."
    )
    return dataclasses.replace(rows_table(read_rows(path), links=links), note=note)


def _as_text(name: str, shape: tuple[int, ...]) -> str:
    if name in GRAPH_TWINS:
        graphs, size, edges, _, channels = shape
        return f"{graphs}×{size}×{channels}, {edges} edges"
    return "×".join(map(str, shape))
