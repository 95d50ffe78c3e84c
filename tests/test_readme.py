"""The README: its tables are fresh, its Python works, its pictures and links exist."""

import re
from pathlib import Path

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
def test_python_blocks_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) == 4
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["values"].shape == (4, 16, 16, 1)
    assert names["heat"].shape == (4, 16, 16)
    assert names["logits"].shape == (4, 2)
    assert "stage2" in capsys.readouterr().out


def test_commands_name_what_there_is():
    from zoo_experiments import experiments
    from zoo_experiments.verbs.cli import _VERBS

    commands = re.findall(r"^zoo (\w+)(?: (\w+))?", TEXT, flags=re.MULTILINE)
    assert commands
    for verb, name in commands:
        assert verb in _VERBS
        if verb in ("train", "bench"):
            assert name in experiments()
