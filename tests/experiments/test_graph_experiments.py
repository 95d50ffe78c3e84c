"""Graphs and sets of points from records to trained, scored, reported and predicted, whatever the truth is about."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.augment import Augmentation
from zoo.errors import UserError
from zoo_datasets.loading.graph_records import by_receiver
from zoo_datasets.loading.records import DataError, Dataset
from zoo_experiments.verbs import evaluating, predicting
from zoo_experiments.verbs import experiment as module
from zoo_experiments.verbs.evaluating import evaluate_other, value_of
from zoo_experiments.verbs.experiment import Experiment, Optimisation, as_json, assemble, from_json
from zoo_experiments.verbs.graph_scores import counted, standardised_errors
from zoo_experiments.verbs.graphs import Graphs, Points, redrawn_pairs
from zoo_experiments.verbs.outputs import outputs_from_json
from zoo_experiments.verbs.predicting import predict_run
from zoo_experiments.verbs.reporting import write_report
from zoo_experiments.verbs.runs import open_run
from zoo_experiments.verbs.training import train_experiment

COUNTS = {"train": 24, "validation": 10, "test": 10}


def graph(rng, kind):
    """A ring with some chords; what is asked for can be learnt from the nodes' first feature."""
    n = int(rng.integers(3, 9))
    ring = np.stack([np.arange(n), (np.arange(n) + 1) % n], 1)
    chords = rng.integers(0, n, (int(rng.integers(0, 4)), 2))
    pairs = np.concatenate([ring, chords[chords[:, 0] != chords[:, 1]]])
    senders, receivers = np.concatenate([pairs, pairs[:, ::-1]]).T.astype(np.int32)
    order = by_receiver(senders, receivers)
    senders, receivers = senders[order], receivers[order]
    nodes = rng.normal(size=(n, 2)).astype(np.float32)
    record = {"nodes": nodes, "senders": senders, "receivers": receivers, "mass": np.float32(nodes.sum())}
    high = (nodes[:, 0] > 0).astype(np.int32)
    if kind == "graph":
        return {**record, "label": int(nodes[:, 0].mean() > 0)}
    if kind == "node":
        return {**record, "node_label": np.where(rng.random(n) < 0.2, -1, high).astype(np.int32)}
    if kind == "number":
        valid = (rng.random(n) < 0.8).astype(np.uint8)
        return {
            **record,
            "node_target": (3 + 2 * nodes[:, :1]).astype(np.float32),
            "node_valid": valid,
            "positions": rng.uniform(0, 50, (n, 3)).astype(np.float32),
            "scatter": np.full(n, 0.1, np.float32),
        }
    kinds = rng.integers(0, 3, len(senders)).astype(np.int32)
    edges = rng.normal(size=(len(senders), 1)).astype(np.float32)
    if kind == "edge":
        label = np.where(kinds == 2, -1, (edges[:, 0] > 0).astype(int)).astype(np.int32)
        return {**record, "edges": edges, "edge_type": kinds, "edge_label": label}
    asked = np.array([[a, b] for a in range(n) for b in range(a)], np.int32)
    return {**record, "pairs": asked, "pair_label": (high[asked[:, 0]] == high[asked[:, 1]]).astype(np.int32)}


def cloud(rng, kind):
    n = int(rng.integers(0 if kind == "set" else 1, 9))
    values = rng.normal(size=(n, 3)).astype(np.float32) * np.array([10, 1, 1], np.float32)
    high = (values[:, 0] > 0).astype(np.int32)
    label = int(values[:, 0].sum() > 0) if kind == "set" else high
    return {"points": values, "label": label, "mass": np.float32(n)}


CLASSES = {"class_names": ("low", "high")}
TOLD = {
    "graph": CLASSES,
    "node": {**CLASSES, "node_channels": {"first": "m", "second": "s"}},
    "number": {"targets": {"size": "m"}},
    "edge": {**CLASSES, "edge_channels": {"weight": "1"}, "edge_types": ("a", "b", "c")},
    "pair": {"class_names": ("no", "yes")},
    "set": {**CLASSES, "channels": {"x": "m", "y": "m", "log_weight": "1"}},
    "point": {**CLASSES, "channels": {"x": "m", "y": "m", "log_weight": "1"}},
}
FAST = Optimisation(learning_rate=0.03, ema=0.5)
NET = {"epochs": 4, "batch_size": 4, "evaluations": 2, "optimisation": FAST}
GAT = ("width=4", "heads=2", "layers=1", "jump=True")
EXPERIMENTS = {
    "graph": Experiment(data="toy/graph", model="gin", options=("width=4", "layers=1"), properties=("mass",), **NET),
    "node": Experiment(data="toy/node", model="gat", options=GAT, graphs=Graphs(buckets=2), **NET | {"epochs": 8}),
    "number": Experiment(
        data="toy/number",
        model="graphsage",
        options=("width=4", "layers=1"),
        spread=True,
        score="rmse",
        graphs=Graphs(node_centre=(0.5, 0.0), node_scale=(2.0, 1.0)),
        **NET,
    ),
    "edge": Experiment(data="toy/edge", model="graph_network", options=("width=4", "layers=1"), **NET),
    "pair": Experiment(data="toy/pair", model="gcn", options=("width=4",), graphs=Graphs(embedding=3), **NET),
    "set": Experiment(
        data="toy/set",
        model="deep_sets",
        options=("phi=(4,)", "rho=(4,)"),
        points=Points(centre=(1.0, 0.0, 0.0), scale=(10.0, 1.0, 1.0)),
        **NET,
    ),
    "point": Experiment(
        data="toy/point",
        model="dgcnn",
        options=("widths=(4,)", "k=3", "embedding=4", "dense=(4,)", "dropout=0"),
        **NET,
    ),
}
# Metrics that a kind must have, and figures.
OF_CLASSES = {"confusion", "reliability", "embedding"}
KINDS = {
    "graph": ({"accuracy", "roc_auc"}, {*OF_CLASSES, "worst", "best", "against_mass"}),
    "node": ({"accuracy", "nll"}, {*OF_CLASSES, "examples", "attention"}),
    "number": ({"rmse", "coverage_68", "z_squared"}, {"numbers", "spread", "map"}),
    "edge": ({"accuracy", "nll"}, {*OF_CLASSES, "examples"}),
    "pair": ({"accuracy", "nll"}, {"confusion", "reliability", "detection"}),
    "set": ({"accuracy", "roc_auc"}, {*OF_CLASSES, "worst", "best"}),
    "point": ({"accuracy", "nll"}, {*OF_CLASSES, "examples"}),
}


# The others take the same ways.
QUICK = ("node", "set")
EVERY_KIND = [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in EXPERIMENTS]


class Records(list):
    """Ragged records as a source."""


def dataset(kind, *, labels=True):
    make = cloud if kind in ("set", "point") else graph
    splits = {
        split: Records(make(np.random.default_rng([seed, i]), kind) for i in range(count))
        for seed, (split, count) in enumerate(COUNTS.items())
    }
    told = dict(TOLD[kind])
    if not labels:
        truths = ("label", "node_label", "edge_label", "pair_label", "node_target", "node_valid")
        splits = {
            split: Records({n: v for n, v in record.items() if n not in truths} for record in some)
            for split, some in splits.items()
        }
        told = {name: value for name, value in told.items() if name not in ("class_names", "targets")}
    return Dataset(f"toy/{kind}", splits, **{"class_names": None, "description": "", **told})


def load_toy(name, *, labels=True, seed=0):
    return dataset(name.removeprefix("toy/"), labels=labels)


@pytest.fixture(scope="module", autouse=True)
def toys():
    """`load` gives the sets of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load", load_toy)
        patch.setattr(predicting, "load", load_toy)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`trained(kind)` → its run, trained once."""

    @functools.cache
    def build(kind):
        folder = tmp_path_factory.mktemp("runs") / kind / "seed0"
        return train_experiment(kind, EXPERIMENTS[kind], folder=folder, progress=False)

    return build


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_is_trained_scored_and_reported(kind, trained):
    run = trained(kind)
    metrics, drawn = KINDS[kind]
    rows = run.read("results.json")["metrics"]
    names = [row["name"] for row in rows]
    assert metrics <= set(names) and len(names) == len(set(names))
    for row in rows:
        assert row["interval"][0] <= row["value"] <= row["interval"][1] or row["name"] == "ece", row
    made = run.setup(splits=("validation",))
    text = write_report(run, made, run.weights(made).state).read_text()
    figures = {path.stem for path in run.file("figures").glob("*.png")}
    assert drawn <= figures
    assert all(text.count(f'alt="{alt}') <= 1 for alt in ("Confusion matrix", "Learned features"))
    said = text.partition("All settings")[0]
    assert ("sets of points" if kind in ("set", "point") else "graphs") in said and "images" not in said
    assert outputs_from_json(json.loads(json.dumps(run.outputs.as_json()))) == run.outputs
    assert from_json(json.loads(json.dumps(as_json(run.experiment)))) == run.experiment
    reopened = open_run(str(run.folder))
    assert (reopened.field, reopened.shape, reopened.channels) == (run.field, run.shape, run.channels)


@pytest.mark.parametrize(
    "kind", ["node", "set", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("graph", "edge", "point"))]
)
def test_what_can_be_learnt_is_learnt(kind, trained):
    # Half of all is right by chance; some hundreds of rows, or ten graphs, of the validation split.
    assert value_of(trained(kind).read("results.json"), "accuracy", "validation")["value"] > 0.7


@pytest.mark.parametrize("kind", ["node", "set"])
def test_a_record_of_many_is_judged_as_alone(kind, trained):
    """With the least padding there must be, and without the pipeline."""
    run = trained(kind)
    made = run.setup(splits=("validation",))
    variables = run.weights(made).state.averaged
    raw, _ = made.evaluation()(variables, made.data["validation"])
    told = {"class_names": None, "description": ""} | TOLD[kind]
    alone = Dataset("one", {"validation": Records(dataset(kind).splits["validation"][3:4])}, **told)
    one = assemble(run.experiment, alone, splits=("validation",), outputs=run.outputs).data["validation"]
    said = np.asarray(jax.jit(made.model.apply)(variables, jax.tree.map(jnp.asarray, made.inputs(one.arrays))))
    there = raw[[3]]
    if run.outputs.rows:
        said = counted(made, said, one)[0]
        there = counted(made, there, made.data["validation"].part(np.array([3])))[0]
    # float32, and sums in another order.
    np.testing.assert_allclose(said, there, rtol=2e-4, atol=2e-5)


@pytest.mark.slow
def test_errors_are_in_units_of_the_predicted_spread(trained):
    run = trained("number")
    made = run.setup(splits=("validation",))
    source = made.data["validation"]
    raw, _ = made.evaluation()(run.weights(made).state.averaged, source)
    errors, spread = standardised_errors(made, raw, source)
    z = (errors / spread)[:, 0]
    found = run.read("results.json")
    assert value_of(found, "z_squared", "validation")["value"] == pytest.approx(np.mean(z**2), rel=1e-4)
    assert value_of(found, "rmse", "validation")["value"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-4)
    assert value_of(found, "coverage_68", "validation")["value"] == pytest.approx(np.mean(np.abs(z) <= 1), abs=1e-6)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_run_predicts_records_without_a_truth(kind, trained, tmp_path):
    run = trained(kind)
    rows = run.outputs.rows
    out = tmp_path / ("out.npz" if rows else "out.csv")
    said = predict_run(run, data=f"toy/{kind}", out=out)
    assert out.exists() and set(said) == set(run.outputs.names)
    if not rows:
        assert sum(said.values()) == sum(COUNTS.values()) and len(out.read_text().splitlines()) == 1 + sum(
            said.values()
        )
        return
    with np.load(out) as found:
        field = {"node": "nodes", "edge": "senders", "pair": "pairs", "point": "points"}[rows]
        expected = [len(record[field]) for some in dataset(kind).splits.values() for record in some]
        assert found["length"].tolist() == expected and found["prediction"].shape[1] >= max(expected)
    if run.outputs.class_names:
        assert sum(said.values()) == pytest.approx(1)
    with pytest.raises(UserError, match=rf"predicts {rows}s, which go into an .npz file"):
        predict_run(run, data=f"toy/{kind}", out=tmp_path / "out.csv")


def test_other_data_are_scored_and_data_of_another_kind_refused(trained, tmp_path):
    run = trained("node")
    assert value_of({"metrics": evaluate_other(run, data="toy/node", split="test")}, "accuracy", "toy/node test")
    with pytest.raises(UserError, match=r"takes graphs \(2, 0, 0\) .*toy/set has points"):
        predict_run(run, data="toy/set", out=tmp_path / "out.npz")
    with pytest.raises(UserError, match=r"toy/edge has graphs \(2, 4, 0\).*trained on \(2, 0, 0\)|edge"):
        evaluate_other(run, data="toy/edge", split="test")


@pytest.mark.parametrize("kind", ["graph", "set"])
def test_one_compilation_for_each_bucket(kind):
    made = assemble(EXPERIMENTS[kind], dataset(kind), splits=("train",))
    step, state, shapes = jax.jit(made.step()), made.state(), set()
    with made.batches() as stream:
        for batch in stream:
            shapes.add(batch["nodes" if kind == "graph" else "points"].shape)
            state, _ = step(state, batch)
    assert len(shapes) == len(made.buckets) <= made.experiment.preparation(made.field).buckets
    assert step._cache_size() <= len(made.buckets) + 1 and 0 < made.padding < 1


def test_pairs_that_are_not_joined_are_other_ones_at_every_step(key):
    made = assemble(EXPERIMENTS["pair"], dataset("pair"), splits=("train",))
    arrays = jax.tree.map(jnp.asarray, made.data["train"].arrays)
    one = jax.tree.map(lambda leaf: leaf[0], made.inputs(arrays))
    labels, count = arrays["label"][0], int(arrays["n_node"][0])
    again, maps = redrawn_pairs(key, one, {"label": labels})
    other, _ = redrawn_pairs(jax.random.fold_in(key, 1), one, {"label": labels})
    kept = np.asarray(labels) == 1
    np.testing.assert_array_equal(again.pairs[kept], one.pairs[kept])
    np.testing.assert_array_equal(maps["label"], labels)
    assert (np.asarray(again.pairs) < count).all() and (again.pairs[~kept] != other.pairs[~kept]).any()


def test_types_of_edges_become_features_or_weights():
    features = assemble(EXPERIMENTS["edge"], dataset("edge"), splits=("train",))
    record = dataset("edge").splits["train"][0]
    count = len(record["senders"])
    edges = features.data["train"].arrays["edges"][0, :count]
    np.testing.assert_array_equal(edges[:, :1], record["edges"])
    np.testing.assert_array_equal(edges[:, 1:].argmax(1), record["edge_type"])
    assert features.shape == (2, 4, 0)
    how = dataclasses.replace(EXPERIMENTS["edge"], model="gcn", options=("width=4",), graphs=Graphs(types="weights"))
    weights = assemble(how, dataset("edge"), splits=("train",))
    np.testing.assert_array_equal(weights.data["train"].arrays["edges"][0, :count], record["edge_type"])
    assert weights.shape == (2, 0, 3) and weights.model.network.edge_types == 3
    none = assemble(dataclasses.replace(how, graphs=Graphs(types="none")), dataset("edge"), splits=("train",))
    assert none.shape == (2, 1, 0)


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("graph", {"model": "convnet", "options": ()}, "convnet takes images or sequences; the data are graphs"),
        ("graph", {"graphs": Graphs(node_centre=(1.0,))}, "graphs.node: centre has 1 numbers, the data 2 columns"),
        ("edge", {"graphs": Graphs(edge_scale=(1.0, 2.0))}, "graphs.edge: scale has 2 numbers, the data 1 columns"),
        ("graph", {"views": "d4"}, "Augmentation and views are for images"),
        ("graph", {"augmentation": Augmentation(rotate=1.0)}, "Augmentation and views are for images"),
        ("node", {"options": ("readout=graph",)}, "readout cannot be given: it follows from the data, here 'nodes'"),
        ("graph", {"options": ("readout=nodes",)}, "truth is about the whole graph, for which gin should give"),
        ("point", {"model": "deep_sets", "options": ()}, "deep_sets has no option readout, which these data need; dg"),
        ("node", {"spread": True}, "A spread is predicted for numbers of pixels or nodes; toy/node has class"),
        ("set", {"points": Points(scale=(1.0, 2.0))}, "points: scale has 2 numbers, the data 3 columns"),
    ],
)
def test_settings_that_do_not_fit_are_refused(kind, changes, words):
    with pytest.raises(UserError, match=words):
        assemble(dataclasses.replace(EXPERIMENTS[kind], **changes), dataset(kind), splits=("train",))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Graphs(buckets=9), "graphs.buckets"),
        (lambda: Graphs(embedding=0), "graphs.embedding"),
        (lambda: Graphs(node_scale=(0.0,)), "graphs.node_scale"),
        (lambda: Points(scale=(-1.0,)), "points.scale"),
        (lambda: Points(channels=-1), "points.channels"),
    ],
)
def test_values_out_of_range_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("graph", {"senders": lambda r: r["senders"] + 9}, "train, record 2: senders should be numbers of nodes"),
        ("graph", {"nodes": lambda r: np.full_like(r["nodes"], np.nan)}, "train, record 2: nodes should be finite"),
        ("graph", {"label": lambda r: 2}, "train, record 2: label should be in 0 … 1"),
        ("node", {"node_label": lambda r: r["node_label"] + 5}, "train, record 2: node_label should be in -1 … 1"),
        ("set", {"points": lambda r: np.full((2, 3), np.inf, np.float32)}, "train, record 2: points should be"),
        ("set", {"label": lambda r: -1}, "train, record 2: label should be in 0 … 1"),
    ],
)
def test_bad_records_are_refused_by_their_number(kind, changes, words):
    data = dataset(kind)
    record = data.splits["train"][2]
    data.splits["train"][2] = {**record, **{name: change(record) for name, change in changes.items()}}
    with pytest.raises(DataError, match=words):
        assemble(EXPERIMENTS[kind], data, splits=("train",))


def test_graphs_without_edges_and_sets_without_points_are_legal():
    data = dataset("graph")
    empty = {"senders": np.zeros(0, np.int32), "receivers": np.zeros(0, np.int32)}
    data.splits["train"][1] = {**data.splits["train"][1], **empty}
    data.splits["train"][2] = {**data.splits["train"][2], **empty, "nodes": np.zeros((0, 2), np.float32)}
    made = assemble(EXPERIMENTS["graph"], data, splits=("train",))
    with made.batches() as stream:
        state, sums = jax.jit(made.step())(made.state(), next(iter(stream)))
    assert np.isfinite(sums["loss"]) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    assert any(len(record["points"]) == 0 for record in dataset("set").splits["train"])


def test_predictions_of_a_split_are_those_of_the_network(trained):
    run = trained("node")
    made = run.setup(splits=("train", "validation"))
    raw, _ = made.evaluation()(run.weights(made).state.averaged, made.data["validation"])
    with np.load(run.file("predictions_validation.npz")) as found:
        np.testing.assert_allclose(found["prediction"], jax.nn.softmax(raw), rtol=1e-5, atol=1e-6)
    rows = evaluating.scores(made, raw, made.data["validation"])
    there, truth = counted(made, raw, made.data["validation"])
    share = np.mean(there.argmax(-1) == truth)
    assert next(row["value"] for row in rows if row["name"] == "accuracy") == pytest.approx(share, abs=1e-6)
