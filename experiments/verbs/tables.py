"""Tables: on the terminal, and generated into README.md between markers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

import zoo
from zoo.errors import UserError
from zoo_datasets.loading import catalogue
from zoo_experiments import experiments


@dataclass(frozen=True)
class Table:
    """A table of text: `numbers` names the columns that are aligned right, `note` is a line below."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    numbers: tuple[str, ...] = ()
    note: str = ""

    def markdown(self) -> str:
        """The table in Markdown."""
        rule = ["---:" if column in self.numbers else "---" for column in self.columns]
        table = "\n".join("| " + " | ".join(cells) + " |" for cells in (self.columns, rule, *self.rows))
        return f"{table}\n\n{self.note}" if self.note else table


def show(table: Table) -> None:
    """Print a table; lines are never cut, so that the output can be searched."""
    rich = RichTable(box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        rich.add_column(column, justify="right" if column in table.numbers else "left", overflow="fold")
    for row in table.rows:
        rich.add_row(*row)
    console = Console(highlight=False, markup=False)
    # Into a file or a pipe nothing is folded.
    console = console if console.is_terminal else Console(highlight=False, markup=False, width=240)
    console.print(rich)
    if table.note:
        console.print(table.note)


def models_table(pattern: str = "*", *, links: bool = False) -> Table:
    """Name, inputs, declared symmetry, parameters of the full-size variant, paper."""
    rows = []
    for name in zoo.names(pattern):
        card = zoo.card(name)
        symmetry = "; ".join(map(str, card.symmetries)) or "none"
        paper = f"[{card.paper.removeprefix('https://')}]({card.paper})" if links else card.paper
        rows.append((f"`{name}`" if links else name, card.inputs, symmetry, f"{zoo.parameters(name):,}", paper))
    return Table(("name", "inputs", "symmetry", "parameters", "paper"), rows, ("parameters",))


def experiments_table(*, links: bool = False) -> Table:
    """Name, title, data, model, epochs."""
    rows = [
        (f"`{name}`" if links else name, e.title, e.data, e.model, str(e.epochs)) for name, e in experiments().items()
    ]
    return Table(("name", "what", "data", "model", "epochs"), rows, ("epochs",))


def data_table(*, links: bool = False) -> Table:
    """Name, title, sizes of the splits; on a terminal also whether it is prepared."""
    rows = []
    for name in catalogue.names():
        described = catalogue.describe(name)
        sizes = ", ".join(f"{size:,} {split}" for split, size in described.splits.items())
        ready = () if links else ("yes" if described.prepared else "no",)
        rows.append((f"`{name}`" if links else name, described.title, sizes, *ready))
    return Table(("name", "what", "splits", *(() if links else ("prepared",))), rows)


def describe_data(name: str) -> str:
    """All that is known of a data set, as text."""
    described = catalogue.describe(name)
    features = "\n".join(f"  {field}: {what}" for field, what in described.features.items())
    sizes = ", ".join(f"{size:,} {split}" for split, size in described.splits.items())
    parts = [
        described.title,
        f"Splits: {sizes}",
        f"Features:\n{features}",
        f"Units: {described.units}",
        f"Notes: {described.notes}",
        f"Licence: {described.licence}",
        f"Prepared: {'yes' if described.prepared else 'no'}, {described.location}",
        described.citation,
    ]
    return "\n\n".join(parts)


def bench_table(rows: Sequence[tuple[str, float, str]]) -> Table:
    """What was measured."""
    return Table(("what", "value", "unit"), [(what, f"{value:.3g}", unit) for what, value, unit in rows], ("value",))


def _results() -> Table:
    # Imported here: it imports this module.
    from zoo_experiments.verbs.results import results_table

    return results_table(links=True)


def _speed() -> Table:
    from zoo_experiments.verbs.bench_models import speed_table

    return speed_table(links=True)


def refresh_readme(path: Path) -> str:
    """Write the generated tables between `<!-- table NAME -->` and `<!-- end -->`; returns what was done.

    Raises:
        UserError: there is no such file, or a marker names no table.
    """
    tables = {
        "models": lambda: models_table(links=True),
        "experiments": lambda: experiments_table(links=True),
        "data": lambda: data_table(links=True),
        "results": _results,
        "speed": _speed,
    }
    if not path.exists():
        raise UserError(f"There is no {path} here: run `zoo readme` in the folder of the project.")

    def fill(match: re.Match) -> str:
        name = match.group(1)
        if name not in tables:
            raise UserError(f"{path} asks for a table {name!r}; there are: {', '.join(tables)}.")
        return f"<!-- table {name} -->\n{tables[name]().markdown()}\n<!-- end -->"

    old = path.read_text()
    new = re.sub(r"<!-- table (\w+) -->\n.*?<!-- end -->", fill, old, flags=re.DOTALL)
    path.write_text(new)
    return f"{path}: tables {'refreshed' if new != old else 'were up to date'}."
