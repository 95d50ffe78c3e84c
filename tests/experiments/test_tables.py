"""Tables on the terminal and in README.md."""

import pytest

import zoo as library
from zoo.errors import UserError
from zoo_datasets.loading import catalogue
from zoo_experiments import experiments
from zoo_experiments.verbs.tables import Table, bench_table, models_table, refresh_readme, show

pytestmark = pytest.mark.smoke


def test_markdown_by_hand():
    table = Table(("name", "size"), [("a", "1"), ("b", "20")], ("size",))
    assert table.markdown() == "| name | size |\n| --- | ---: |\n| a | 1 |\n| b | 20 |"


def test_nothing_is_cut_in_a_pipe(capsys):
    words = ("word " * 30).strip()
    show(Table(("what", "[not markup]"), [(words, "[red]x")]))
    out = capsys.readouterr().out
    assert words in out and "[red]x" in out and "[not markup]" in out


def test_the_table_of_models_has_every_model_with_its_paper():
    table = models_table(links=True)
    assert [row[0] for row in table.rows] == [f"`{name}`" for name in library.names()]
    for name, row in zip(library.names(), table.rows, strict=True):
        assert row[-1].endswith(f"({library.card(name).paper})") and int(row[3].replace(",", "")) == library.parameters(
            name
        )


def test_measurements_keep_three_digits():
    assert bench_table([("step", 12.3456, "ms")]).rows == [("step", "12.3", "ms")]


README = """# Title

<!-- table models -->
stale
<!-- end -->
between
<!-- table experiments -->
<!-- end -->
<!-- table data -->
stale
<!-- end -->
after
"""


def test_the_readme_is_refreshed_between_its_markers_only(zoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text(README)
    outcome = zoo("readme")
    assert outcome.code == 0 and "refreshed" in outcome.out
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("# Title\n\n<!-- table models -->\n| name |") and text.endswith("<!-- end -->\nafter\n")
    assert "stale\n" not in text and "<!-- end -->\nbetween\n<!-- table experiments -->" in text
    for name in (*library.names(), *experiments(), *catalogue.names()):
        assert f"| `{name}` |" in text
    outcome = zoo("readme")
    assert "up to date" in outcome.out and (tmp_path / "README.md").read_text() == text


def test_an_unknown_marker_is_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(README.replace("table data", "table dataa"))
    before = path.read_text()
    with pytest.raises(UserError, match=r"'dataa'; there are: models, experiments, data"):
        refresh_readme(path)
    assert path.read_text() == before
    with pytest.raises(UserError, match=r"no .*nowhere.* here"):
        refresh_readme(tmp_path / "nowhere.md")
