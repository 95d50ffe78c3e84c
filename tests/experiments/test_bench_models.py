"""`zoo bench models`: what is measured, what is kept, and the table of it."""

import importlib
import json
import math
from dataclasses import asdict

import pytest

import zoo as library
from zoo.errors import UserError
from zoo_experiments.verbs import bench_models as bench
from zoo_experiments.verbs.bench_models import Row
from zoo_experiments.verbs.tables import refresh_readme
from zoo_experiments.verbs.twins import TWINS, require_torch

FAST = Row("mlp", (32, 32, 32, 1), 0.5, 1.0, "contiguous")
SLOW = Row("vgg11", (16, 64, 64, 3), 1234.5, 617.25, "channels_last")
MACHINE = {"backend": "cpu", "device": "cpu", "devices": 1, "cpus": 2, "cpu": "Abacus 2", "threads": 2}
VERSIONS = {"python": "3.11.0", "jax": "0.10", "flax": "0.12", "torch": "2.13"}


@pytest.fixture
def no_torch(monkeypatch):
    """As if PyTorch were not installed."""
    real = importlib.import_module

    def missing(name, *args):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(name)
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", missing)


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
    assert arrays == TWINS and set(bench.SHAPES) <= set(TWINS)
    for name in TWINS:
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
    assert set(bench.REASONS) <= set(TWINS)


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
