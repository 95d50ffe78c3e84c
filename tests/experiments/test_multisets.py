"""The table of what pools tell apart, and its figure and file."""

import csv
import math

import numpy as np
import pytest
from matplotlib.text import Text

from zoo_experiments.verbs.multisets import PAIRS, compare, draw, multisets

TOLD = {
    ((1, 3), (1, 1, 3)): {"sum", "mean", "attention"},
    ((2, 2), (1, 3)): {"max", "attention"},
    ((1, 3), (1, 1, 3, 3)): {"sum"},
    ((1, 3), (3, 1)): set(),
}


def test_each_pair_is_told_apart_by_the_pools_of_theory():
    assert {(row.first, row.second): row.told_by() for row in compare()} == TOLD
    assert tuple(TOLD) == PAIRS


def test_values_by_hand():
    (row,) = compare([((0, 5, 5), (2,))])
    weights = np.array([1, math.exp(5), math.exp(5)])
    expected = {
        "sum": (10, 2),
        "mean": (10 / 3, 2),
        "max": (5, 2),
        "attention": (weights @ [0, 5, 5] / weights.sum(), 2),
    }
    assert row.told_by() == set(expected)
    for name, values in expected.items():
        assert row.values[name] == pytest.approx(values, rel=1e-6)


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_the_figure_shows_multisets_values_and_verdicts():
    figure = multisets()
    shown = texts(figure)
    numbers = [text for text in shown if text in "123"]
    assert sorted(numbers) == sorted(str(n) for pair in PAIRS for some in pair for n in some)
    assert sum("✓" in text for text in shown if "≠" in text) == sum(map(len, TOLD.values())) == 6
    assert sum("✗" in text for text in shown if " = " in text) == 12 - 6
    for text in ("4 ≠ 5  ✓", "2 = 2  ✗", "2 ≠ 2.76  ✓", "4 = 4", "sum", "attention", "GIN, deep sets"):
        assert text in shown, text
    dots = figure.axes[0].collections
    colours = {}
    for dot, label in zip(
        [d for d in dots if len(d.get_offsets()) == 1],
        [t for t in figure.axes[0].texts if t.get_text() in "123"],
        strict=True,
    ):
        assert tuple(dot.get_offsets()[0]) == label.get_position()
        colours.setdefault(label.get_text(), set()).add(tuple(dot.get_facecolors()[0]))
    assert all(len(some) == 1 for some in colours.values()) and len(set.union(*colours.values())) == 3


@pytest.mark.parametrize("pairs", [PAIRS, PAIRS[:1], [((1, 2, 3, 4, 5, 6, 7), (10,)), ((0.5,), (-1, -1))]])
def test_everything_is_inside_and_nothing_overlaps(pairs):
    figure = multisets(pairs)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    box, (width, height) = figure.get_tightbbox(renderer), figure.get_size_inches()
    assert box.x0 >= -0.01 and box.y0 >= -0.01 and box.x1 <= width + 0.01 and box.y1 <= height + 0.01, box
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in figure.axes[0].texts]
    for i, (name, first) in enumerate(boxes):
        for other, second in boxes[i + 1 :]:
            assert not first.overlaps(second), (name, other)


def test_figure_and_table_are_written(tmp_path):
    path = draw(tmp_path / "a" / "b")
    assert path == tmp_path / "a" / "b" / "multisets.png" and path.read_bytes().startswith(b"\x89PNG")
    with path.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    told = {}
    for row in rows:
        pair = tuple(tuple(int(n) for n in row[side].split()) for side in ("first", "second"))
        told.setdefault(pair, set()).update({row["pool"]} if row["told_apart"] == "1" else ())
    assert told == TOLD
    assert (rows[1]["pool"], rows[1]["of_first"], rows[1]["of_second"]) == ("mean", "2", "1.66667")
