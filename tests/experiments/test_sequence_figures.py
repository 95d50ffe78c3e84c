"""Figures of sequences: what is drawn is what was given, in its colour, within the frame."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from zoo_experiments.verbs import figures, sequence_figures
from zoo_experiments.verbs.sequence_figures import BANDS

RANDOM = np.random.default_rng(0)
LIGHT = {f"{what}_{band}": unit for band in "gr" for what, unit in (("flux", "Jy"), ("error", "Jy"), ("seen", "0, 1"))}


def light_curve(steps):
    """(T, 6) and times: g is seen at even steps, r at odd ones."""
    values = RANDOM.uniform(1, 2, (steps, 6)).astype(np.float32)
    for band, first in enumerate((1, 0)):
        values[first::2, 3 * band : 3 * band + 3] = 0
        values[1 - first :: 2, 3 * band + 2] = 1
    return values, np.arange(steps) * 2.0


def lines(count=2):
    x = np.arange(1, 9.0)
    return {f"network {i}": (x, x * (i + 1), x * (i + 1) - 0.4, x * (i + 1) + 0.4) for i in range(count)}


CURVES = [light_curve(steps) for steps in (1, 6, 9)]
WALK = np.cumsum(RANDOM.normal(size=(7, 2)), axis=0)
P = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.0, 0.0, 1.0]])
FIGURES = {
    "light_curves": lambda: sequence_figures.series_gallery(
        CURVES, ["Ia\nfound Ia 90 %", "Ibc", "II"], LIGHT, colours=["k", "r", "b"], x_label="days", credit="me"
    ),
    "series": lambda: sequence_figures.series_gallery([(WALK, None)] * 5, ["a"] * 5, {"x": "m", "y": "m"}),
    "texts": lambda: sequence_figures.texts(["a word", "b " * 200], ["true a, predicted b", "b"], colours=["k", "r"]),
    "surprise": lambda: sequence_figures.surprise(
        ["ab↵", "abcdef"], [np.array([np.nan, 1.0, 9.0]), np.r_[np.nan, np.arange(5.0)]]
    ),
    "paths": lambda: sequence_figures.paths(
        [WALK, WALK[:1]], [WALK + 0.1, WALK[:1]], ["one\nerror 0.1", "b"], unit="m"
    ),
    "against": lambda: sequence_figures.against(
        lines(), x_label="days", y_label="accuracy", chance=1 / 3, log_x=True, log_y=True
    ),
    "probability": lambda: sequence_figures.probability_over_time(
        CURVES[1:], [(np.arange(3.0), P), (np.arange(3.0), P)], ["record 1: Ia", "record 9: II"], LIGHT,
        ("Ia", "Ibc", "II"), x_label="time (days)",
    ),
}  # fmt: skip


@pytest.fixture(params=FIGURES)
def figure(request):
    return FIGURES[request.param]()


def test_everything_is_inside_the_figure_and_titles_are_apart(figure):
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    box = figure.get_tightbbox(renderer)  # inches
    width, height = figure.get_size_inches()
    assert box.x0 >= -0.01 and box.y0 >= -0.01 and box.x1 <= width + 0.01 and box.y1 <= height + 0.01, box
    titles = [t.get_window_extent(renderer) for a in figure.axes for t in (a.title, a._left_title) if t.get_text()]
    for i, first in enumerate(titles):
        assert not any(first.overlaps(second) for second in titles[i + 1 :])
    assert not any("nan" in text.get_text().lower() for text in figure.findobj(Text))
    assert figures.to_data_uri(figure, dpi=40).startswith("data:image/png;base64")


def points(container):
    return container.lines[0].get_xydata()


def test_only_what_was_seen_in_a_band_is_drawn_in_its_colour():
    axes = Figure().add_subplot()
    values, times = CURVES[2]
    sequence_figures.series(axes, values, times, list(LIGHT))
    for band, (container, (colour, marker)) in enumerate(zip(axes.containers, BANDS, strict=False)):
        seen = slice(band, None, 2)
        np.testing.assert_allclose(points(container), np.stack([times[seen], values[seen, 3 * band]], 1), rtol=1e-6)
        assert to_hex(container.lines[0].get_color()) == to_hex(colour)
        assert container.lines[0].get_marker() == marker and container.get_label() == "gr"[band]
        ends = np.array(container.lines[2][0].get_segments())[..., 1]
        np.testing.assert_allclose(ends[:, 1] - ends[:, 0], 2 * values[seen, 3 * band + 1], rtol=1e-5)
    assert len(axes.containers) == 2


def test_other_series_are_a_line_for_each_channel():
    axes = Figure().add_subplot()
    sequence_figures.series(axes, WALK, None, ["x", "y"])
    for column, line in enumerate(axes.lines):
        np.testing.assert_array_equal(line.get_xydata(), np.stack([np.arange(7), WALK[:, column]], 1))
        assert line.get_label() == "xy"[column]
    nameless = Figure().add_subplot()
    sequence_figures.series(nameless, WALK, np.arange(7) * 3.0, [])
    assert nameless.lines[1].get_xdata()[-1] == 18 and len(nameless.lines) == 2


def test_a_gallery_has_a_panel_for_each_record_with_its_caption():
    figure = FIGURES["light_curves"]()
    assert [axes.get_title() for axes in figure.axes] == ["Ia\nfound Ia 90 %", "Ibc", "II"]
    assert [axes.title.get_color() for axes in figure.axes] == ["k", "r", "b"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"days"} and figure.get_supxlabel() == "me"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["g", "r"]
    series = FIGURES["series"]()
    assert sum(axes.axison for axes in series.axes) == 5 and len(series.axes) == 8
    # The last panel of each column says what the axis is.
    assert [bool(axes.get_xlabel()) for axes in series.axes[:5]] == [False, True, True, True, True]


def test_long_texts_show_their_end():
    shown = [axes.texts[0].get_text() for axes in FIGURES["texts"]().axes]
    assert shown == ["a word", "…" + ("b " * 200)[-119:]]
    assert [axes._left_title.get_color() for axes in FIGURES["texts"]().axes] == ["k", "r"]


def test_characters_stand_on_the_bits_they_came_with():
    figure = FIGURES["surprise"]()
    picture, bar = figure.axes
    grid = picture.images[0].get_array()
    np.testing.assert_array_equal(grid[1], [np.nan, 0, 1, 2, 3, 4])
    # Beyond the end of the first text there is nothing.
    assert np.isnan(grid[0, 3:].filled(np.nan)).all() and grid[0, 2] == 9
    said = {(round(t.get_position()[1]), round(t.get_position()[0])): t for t in picture.texts}
    assert "".join(said[1, i].get_text() for i in range(6)) == "abcdef" and said[0, 2].get_text() == "↵"
    # Dark on light and light on dark: the strongest colour is light.
    assert said[0, 2].get_color() == "black" and said[1, 1].get_color() == "white"
    assert said[1, 0].get_color() == "black" and bar.get_xlabel() == "surprise (bits)"


def test_paths_join_truth_and_prediction_step_by_step():
    first = FIGURES["paths"]().axes[0]
    np.testing.assert_array_equal(first.lines[0].get_xydata(), WALK)
    np.testing.assert_allclose(first.collections[0].get_offsets(), WALK + 0.1)
    for step, line in enumerate(first.lines[1:]):
        np.testing.assert_allclose(line.get_xydata(), [WALK[step], WALK[step] + 0.1])
    assert len(first.lines) == 8 and first.get_xlabel() == "x (m)" and first.get_aspect() == 1


def test_lines_have_their_interval_and_chance():
    axes = FIGURES["against"]().axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["network 0", "network 1", "chance"]
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), np.arange(1, 9) * 2)
    vertices = axes.collections[0].get_paths()[0].vertices
    assert vertices[:, 1].min() == pytest.approx(0.6) and vertices[:, 1].max() == pytest.approx(8.4)
    assert axes.lines[2].get_ydata()[0] == 1 / 3 and axes.get_xscale() == axes.get_yscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("days", "accuracy")


def test_probabilities_stand_below_their_light_curve_in_per_cent():
    figure = FIGURES["probability"]()
    top, bottom = figure.axes[:2], figure.axes[2:]
    assert [axes.get_title() for axes in top] == ["record 1: Ia", "record 9: II"]
    np.testing.assert_allclose([line.get_ydata() for line in bottom[0].lines], 100 * P.T)
    assert [text.get_text() for text in bottom[0].get_legend().get_texts()] == ["Ia", "Ibc", "II"]
    assert bottom[0].get_ylabel() == "probability (%)" and top[0].get_ylabel() == "flux (Jy)"
    assert top[0].get_shared_x_axes().joined(top[0], bottom[0]) and bottom[1].get_xlabel() == "time (days)"
