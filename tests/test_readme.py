"""The README: its tables are fresh, its Python works, its pictures and links exist."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_tables_are_fresh(tmp_path):
    from zoo_experiments.verbs.tables import refresh_readme

    copy = tmp_path / "README.md"
    copy.write_text(TEXT, encoding="utf-8")
    refresh_readme(copy)
    assert copy.read_text(encoding="utf-8") == TEXT, "run `make readme`"


def test_local_links_exist():
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert links
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing


@pytest.mark.smoke
def test_python_blocks_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) == 8
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["values"].shape == (4, 16, 16, 1)
    assert names["heat"].shape == (4, 16, 16)
    assert names["logits"].shape == (4, 2)
    assert names["said"].shape == (4, 3)
    assert names["seen"].any() and not names["seen"].all()
    np.testing.assert_allclose(names["on_its_side"], names["upright"], atol=1e-5)  # float32
    jax.tree.map(np.testing.assert_array_equal, names["restored"], names["weights"])
    assert "stage2" in capsys.readouterr().out


def test_commands_name_what_there_is():
    from zoo_experiments import experiments
    from zoo_experiments.verbs.cli import _SUBJECTS, _VERBS

    commands = re.findall(r"^zoo (\w+)(?: (\w+))?", TEXT, flags=re.MULTILINE)
    assert commands
    for verb, name in commands:
        assert verb in _VERBS
        if verb in ("train", "bench"):
            assert name in (*experiments(), *_SUBJECTS.get(verb, ()))
