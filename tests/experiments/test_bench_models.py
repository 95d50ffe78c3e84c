"""`zoo bench models`: what is measured, what is kept, and the table of it."""

import importlib
import json
import math
from dataclasses import asdict

import numpy as np
import pytest

import zoo as library
from zoo.errors import UserError
from zoo_experiments.verbs import bench_models as bench
from zoo_experiments.verbs.bench_models import MEASURED, Row
from zoo_experiments.verbs.graph_twins import GRAPH_TWINS, POINT_TWINS, as_tensors, graph_twin, point_twin, random_graph
from zoo_experiments.verbs.tables import refresh_readme
from zoo_experiments.verbs.twins import TWINS, require_torch

FAST = Row("mlp", (32, 32, 32, 1), 0.5, 1.0, "contiguous")
SLOW = Row("vgg11", (16, 64, 64, 3), 1234.5, 617.25, "channels_last")
MACHINE = {"backend": "cpu", "device": "cpu", "devices": 1, "cpus": 2, "cpu": "Abacus 2", "threads": 2}
VERSIONS = {"python": "3.11.0", "jax": "0.10", "flax": "0.12", "torch": "2.13"}


# PyTorch Geometric compiles some of itself, when imported, in a way that PyTorch warns of.
geometric = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


def without(monkeypatch, package):
    real = importlib.import_module

    def missing(name, *args):
        if name.split(".")[0] == package:
            raise ModuleNotFoundError(name)
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", missing)


@pytest.fixture
def no_torch(monkeypatch):
    """As if PyTorch were not installed."""
    without(monkeypatch, "torch")


@pytest.fixture
def no_geometric(monkeypatch):
    """As if PyTorch Geometric were not installed."""
    without(monkeypatch, "torch_geometric")


@pytest.fixture
def abacus(monkeypatch):
    """A known machine with known versions."""
    monkeypatch.setattr(bench, "_made_on", lambda: {"machine": MACHINE, "versions": VERSIONS})


def store(path, rows, **other):
    values = {"machine": MACHINE, "versions": VERSIONS, "date": "2026-01-02", "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(values | other))
    return path


def test_without_pytorch_it_says_what_to_install(no_torch, zoo):
    with pytest.raises(UserError, match=r"not installed: pip install 'symmetry-zoo\[parity\]'"):
        require_torch()
    outcome = zoo("bench", "models", "--only", "mlp")
    assert outcome.code == 2 and "symmetry-zoo[parity]" in outcome.err and "Traceback" not in outcome.err


def test_mistakes_are_refused_before_anything_is_measured(zoo, tmp_path):
    for arguments, words in (
        (("--only", "resnet81"), "'resnet18'"),
        (("--steps", "0"), "steps must be at least 1, got 0"),
        (("--out", tmp_path / "speed.json"), "add --keep"),
        (("--keep", "--out", tmp_path / "nowhere" / "speed.json"), "nowhere"),
    ):
        outcome = zoo("bench", "models", *arguments)
        assert outcome.code == 2 and words in outcome.err, arguments
    outcome = zoo("bench", "modles")
    assert outcome.code == 2 and "'models'" in outcome.err
    assert "zoo bench models" in zoo("bench", "--help").out


def test_every_model_has_a_twin_and_an_input_that_it_takes():
    arrays = tuple(name for name in library.names() if library.card(name).kind == "array")
    assert arrays == TWINS and set(bench.SHAPES) <= set(MEASURED)
    assert set(library.names()) - set(MEASURED) == {"graph_network", "interaction_network"}
    assert len(set(MEASURED)) == len(MEASURED)
    assert set(bench.EDGE_LAYOUTS) == set(GRAPH_TWINS)
    for name in MEASURED:
        shape = bench.input_shape(name)
        assert len(shape) == len(library.card(name).example)
        assert library.parameters(name, (2, *shape[1:])) > 0


def test_the_table_has_reasons_only_where_we_are_slow():
    assert FAST.ratio == 0.5 and SLOW.ratio == 2
    table = bench.rows_table([FAST, SLOW], reasons={"vgg11": "because", "mlp": "not slow"})
    assert table.columns == ("model", "input", "zoo, ms", "PyTorch, ms", "zoo / PyTorch", "why")
    assert table.rows == [
        ("mlp", "32×32×32×1", "0.5", "1", "0.50", ""),
        ("vgg11", "16×64×64×3", "1234", "617", "2.00", "because"),
    ]
    graph = Row("gcn", (1, 10_000, 100_000, 0, 64), 1.0, 1.0, "sparse")
    assert bench.rows_table([graph]).rows[0][1] == "1×10000×64, 100000 edges"
    assert "why" not in bench.rows_table([FAST], reasons={"mlp": "not slow"}).columns
    assert bench.unexplained([FAST, SLOW], {}) == ["vgg11"] and not bench.unexplained([SLOW], {"vgg11": "because"})


def test_the_readme_takes_its_table_from_the_store(tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- table speed -->\n<!-- end -->\n")
    monkeypatch.setattr(bench.speed_table, "__defaults__", (store(tmp_path / "speed.json", [FAST]),))
    refresh_readme(readme)
    assert readme.read_text() == (
        "<!-- table speed -->\n"
        "| model | input | zoo, ms | PyTorch, ms | zoo / PyTorch |\n"
        "| --- | --- | ---: | ---: | ---: |\n"
        "| `mlp` | 32×32×32×1 | 0.5 | 1 | 0.50 |\n\n"
        "Abacus 2, 2 cores; JAX 0.10, PyTorch 2.13, Python 3.11.0; 2026-01-02.\n"
        "<!-- end -->\n"
    )
    assert bench.speed_table(tmp_path / "nothing.json").rows == []


def test_measurements_are_kept_in_order_and_replace_their_own(tmp_path, abacus):
    path = tmp_path / "speed.json"
    bench.keep([SLOW], path)
    bench.keep([FAST], path)
    assert bench.read_rows(path) == [FAST, SLOW]
    again = Row("mlp", (32, 32, 32, 1), 0.25, 1.0, "contiguous")
    bench.keep([again], path)
    assert bench.read_rows(path) == [again, SLOW]
    assert set(json.loads(path.read_text())) == {"machine", "versions", "date", "rows"}


def test_graphs_join_what_was_measured_without_pytorch_geometric(tmp_path, abacus, monkeypatch):
    path = store(tmp_path / "speed.json", [FAST])
    more = {**VERSIONS, "torch_geometric": "2.8"}
    monkeypatch.setattr(bench, "_made_on", lambda: {"machine": MACHINE, "versions": more})
    graph = Row("gcn", (1, 10, 20, 0, 4), 1.0, 1.0, "sparse")
    bench.keep([graph], path)
    assert bench.read_rows(path) == [FAST, graph]
    assert "PyTorch 2.13, PyTorch Geometric 2.8, Python 3.11.0" in bench.speed_table(path).note
    # Where it is missing arrays are measured again, and graphs stay as they are.
    monkeypatch.setattr(bench, "_made_on", lambda: {"machine": MACHINE, "versions": VERSIONS})
    bench.keep([SLOW], path)
    assert bench.read_rows(path) == [FAST, SLOW, graph]
    assert json.loads(path.read_text())["versions"] == more
    monkeypatch.setattr(bench, "_made_on", lambda: {"machine": MACHINE, "versions": {**more, "torch_geometric": "3"}})
    with pytest.raises(UserError, match=r"holds mlp, vgg11, measured .* with other versions"):
        bench.keep([graph], path)


def test_measurements_of_different_machines_are_not_mixed(tmp_path, abacus):
    path = store(tmp_path / "speed.json", [SLOW], machine={**MACHINE, "cpu": "Abacus 1"})
    before = path.read_text()
    with pytest.raises(UserError, match=r"holds vgg11, measured elsewhere .*Abacus 1.*Abacus 2.*another --out"):
        bench.keep([FAST], path)
    assert path.read_text() == before
    bench.keep([FAST, SLOW], path)
    assert bench.read_rows(path) == [FAST, SLOW]


def test_what_is_stored_is_explained():
    assert bench.unexplained(bench.read_rows()) == [], "say in REASONS why"
    assert set(bench.REASONS) <= set(MEASURED)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("convnet", (4, 16, 16, 2), {"widths": (4, 6), "depths": (1, 1), "dropout": 0.1}),
        ("d4_convnet", (4, 8, 8, 1), {"widths": (2, 3), "depths": (1, 1)}),
        ("conv1d", (4, 16, 1), {"widths": (4,), "depths": (1,)}),
    ],
)
def test_a_small_model_is_measured(name, shape, options):
    (row,) = bench.bench_models([name], steps=1, shapes={name: shape}, options=options)
    assert (row.model, row.shape) == (name, shape) and row.layout in ("contiguous", "channels_last")
    for value in (row.ours, row.theirs):
        assert math.isfinite(value) and value > 0


@geometric
@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "shape", "layouts"),
    [
        ("gcn", (2, 10, 30, 0, 4), ("list", "sparse")),
        ("deep_sets", (2, 10, 4), ("contiguous",)),
    ],
)
def test_a_small_model_of_graphs_or_points_is_measured(name, shape, layouts):
    (row,) = bench.bench_models([name], steps=1, shapes={name: shape})
    assert (row.model, row.shape) == (name, shape) and row.layout in layouts
    for value in (row.ours, row.theirs):
        assert math.isfinite(value) and value > 0


@pytest.mark.parity
def test_without_pytorch_geometric_graphs_are_left_out(no_geometric, monkeypatch, capsys):
    measured = []
    monkeypatch.setattr(bench, "_bench", lambda name, *_: measured.append(name) or FAST)
    bench.bench_models(["gcn", "mlp", "gin", "deep_sets"])
    assert measured == ["mlp", "deep_sets"]
    assert "Left out: gcn, gin." in (told := capsys.readouterr().err)
    assert "PyTorch Geometric, which is not installed: pip install 'symmetry-zoo[parity]'" in told
    with pytest.raises(UserError, match="PyTorch Geometric, which is not installed"):
        bench.bench_models(["gcn"])


@geometric
@pytest.mark.parity
@pytest.mark.parametrize("name", [*GRAPH_TWINS, *POINT_TWINS])
def test_what_is_measured_has_as_many_parameters_on_both_sides(name):
    shape, options = bench.input_shape(name), {"num_classes": 10, **bench.OPTIONS.get(name, {})}
    model = library.create(name, **options)
    net = graph_twin(model, shape[-1]) if name in GRAPH_TWINS else point_twin(model, shape)
    trained = sum(tensor.numel() for tensor in net.parameters() if tensor.requires_grad)
    assert trained == library.parameters(name, shape, **options)


@geometric
@pytest.mark.parity
@pytest.mark.parametrize("name", ["gcn", "graphsage", "gin"])
def test_edges_in_a_list_and_in_a_sparse_matrix_give_the_same(name):
    import torch

    graph = random_graph(np.random.default_rng(0), (2, 10, 30, 0, 4))
    net = graph_twin(library.create(name, num_classes=3, readout="nodes"), 4).eval()
    with torch.no_grad():
        listed, sparse = (net(*as_tensors(graph, sparse=sparse)).numpy() for sparse in (False, True))
    # Sums of some thirty float32 numbers in another order.
    np.testing.assert_allclose(sparse, listed, rtol=1e-4, atol=1e-5)
    assert np.ptp(listed) > 0.01
