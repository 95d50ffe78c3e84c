"""The report's figures: what they say is right, labelled and inside the frame, and drawing leaves no trace."""

import base64
import io
import itertools
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from PIL import Image
from scipy.stats import binomtest

from zoo_experiments.verbs import figures

LONG = ["an exceedingly long class name", "edge-on without bulge", *(f"class {i}" for i in range(10))]
ROWS = [
    {"step": 10 * epoch, "epoch": epoch, "split": split, "loss": 1 / epoch, "accuracy": 1 - 0.5 / epoch}
    for epoch in range(1, 6)
    for split in ("train", "validation")
]


def counts(classes):
    return np.random.default_rng(classes).integers(0, 50, (classes, classes)) + 5 * np.eye(classes, dtype=int)


def signed_maps(n=2):
    return np.random.default_rng(0).normal(size=(n, 8, 8)) + 0.3


def pictures(n=2, *channels):
    return np.random.default_rng(1).random((n, 16, 16, *channels))


FIGURES = {
    "learning_curves": lambda: figures.learning_curves(ROWS),
    "confusion": lambda: figures.confusion(counts(4), LONG[:4]),
    "confusion_1": lambda: figures.confusion([[3]], ["only"]),
    "confusion_12": lambda: figures.confusion(100 * counts(12), LONG),
    "recall_bars": lambda: figures.recall_bars(counts(4), LONG[:4]),
    "recall_bars_12": lambda: figures.recall_bars(100 * counts(12), LONG),
    "reliability": lambda: figures.reliability(np.array([0.3, 0.8]), np.array([0.5, 0.75]), np.array([4, 100])),
    "gallery": lambda: figures.gallery(
        pictures(3),
        ["a", "b\nc", "d " * 30],
        cols=2,
        colours=[figures.RIGHT] * 3,
        centre=8,
        stretch="asinh",
        credit="me",
    ),
    "explanations": lambda: figures.explanations(
        pictures(), {"a very long method name": signed_maps(), "saliency": np.abs(signed_maps())}, ["x", "true FRII\ny"]
    ),
}


def drawn(figure):
    figure.canvas.draw()
    return figure.canvas.get_renderer()


def texts(axes):
    return [text.get_text() for text in axes.texts]


@pytest.fixture(params=FIGURES)
def figure(request):
    return FIGURES[request.param]()


def test_everything_painted_is_inside_the_figure(figure):
    box = figure.get_tightbbox(drawn(figure))  # inches
    width, height = figure.get_size_inches()
    assert box.x0 >= -0.01 and box.y0 >= -0.01 and box.x1 <= width + 0.01 and box.y1 <= height + 0.01, box


def test_texts_do_not_run_into_each_other(figure):
    renderer = drawn(figure)
    for axes in figure.axes:
        if axes.get_images():
            captions = [t.get_text() for t in (axes.title, axes.xaxis.label, axes.yaxis.label)]
            assert any(captions) or axes.get_label() == "<colorbar>" or not axes.axison
        boxes = [text.get_window_extent(renderer) for text in axes.texts]
        for i, first in enumerate(boxes):
            assert not any(first.overlaps(second) for second in boxes[i + 1 :])
    titles = [a.title.get_window_extent(renderer) for a in figure.axes if a.get_title()]
    for i, first in enumerate(titles):
        assert not any(first.overlaps(second) for second in titles[i + 1 :])


@pytest.mark.parametrize("name", ["learning_curves", "confusion", "recall_bars", "reliability"])
def test_axes_are_labelled_with_units(name):
    figure = FIGURES[name]()
    for axes in figure.axes:
        if axes.get_label() == "<colorbar>":
            assert "(%)" in axes.get_ylabel()
            continue
        shares_x = any(other is not axes for other in axes.get_shared_x_axes().get_siblings(axes))
        assert axes.get_ylabel() and (axes.get_xlabel() or shares_x)
    assert any(unit in text.get_text() for text in figure.findobj(Text) for unit in ("(%)", "(nats)"))


def test_data_uri_is_a_png_without_nan(figure):
    uri = figures.to_data_uri(figure, dpi=50)
    head, body = uri.split(",")
    assert head == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(body)))
    width, height = figure.get_size_inches() * 50
    assert abs(picture.width - width) <= 1 and abs(picture.height - height) <= 1
    assert np.asarray(picture.convert("L")).std() > 1  # something was painted
    assert not any("nan" in text.get_text().lower() for text in figure.findobj(Text))


def test_resolution_is_obeyed():
    figure = figures.recall_bars([[1]], ["a"])
    sizes = [len(figures.to_data_uri(figure, dpi=dpi)) for dpi in (40, 160)]
    assert sizes[0] < sizes[1]


def test_no_pyplot_and_no_global_state():
    # In a fresh interpreter, because other tests may have imported pyplot. Asking rcParams for the backend in the usual
    # way would import it too.
    code = (
        "import sys, matplotlib\n"
        "rc = lambda: {name: dict.__getitem__(matplotlib.rcParams, name) for name in matplotlib.rcParams}\n"
        "before = rc()\n"
        "from zoo_experiments.verbs import figures\n"
        "import numpy as np\n"
        "m = np.array([[3, 1], [0, 4]])\n"
        "for f in (figures.confusion(m, ['a', 'b']), figures.recall_bars(m, ['a', 'b']),\n"
        "          figures.gallery(np.ones((2, 4, 4)), ['a', 'b'])):\n"
        "    figures.to_data_uri(f)\n"
        "assert 'matplotlib.pyplot' not in sys.modules, 'pyplot was imported'\n"
        "assert rc() == before, 'rc parameters changed'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_figures_are_independent_of_each_other():
    first, second = FIGURES["recall_bars"](), FIGURES["recall_bars"]()
    assert isinstance(first, Figure) and first is not second
    assert figures.to_data_uri(first) == figures.to_data_uri(second)


def test_learning_curves_show_the_rows():
    figure = figures.learning_curves([*ROWS[::-1]])
    loss, accuracy = figure.axes
    for axes, values in ((loss, [1 / e for e in range(1, 6)]), (accuracy, [100 - 50 / e for e in range(1, 6)])):
        assert [line.get_label() for line in axes.lines] == ["validation", "train"]
        for line in axes.lines:
            np.testing.assert_array_equal(line.get_xdata(), [10, 20, 30, 40, 50])
            np.testing.assert_allclose(line.get_ydata(), values)
    assert len({line.get_color() for line in loss.lines}) == 2
    legend = [text.get_text() for text in loss.get_legend().get_texts()]
    assert legend == ["validation", "train"]
    upper = loss.child_axes[0]
    drawn(figure)
    np.testing.assert_allclose(np.array(upper.get_xlim()) * 10, loss.get_xlim())  # 10 steps an epoch
    assert upper.get_xlabel() == "epoch"


def test_learning_curves_survive_missing_and_diverged_values():
    rows = [
        {"step": 1, "epoch": 0, "split": "train", "loss": 2.0, "accuracy": None},
        {"step": 2, "epoch": 0, "split": "train", "loss": float("inf")},
        {"step": 3, "epoch": 0, "split": "train", "loss": 1.0},
    ]
    figure = figures.learning_curves(rows)
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [2.0, np.nan, 1.0])
    assert not figure.axes[1].lines
    drawn(figure)
    drawn(figures.learning_curves(rows[:1]))


@pytest.mark.parametrize("classes", range(1, 13))
def test_confusion_writes_counts_shares_and_intervals(classes):
    matrix = counts(classes)
    figure = figures.confusion(matrix, LONG[:classes])
    axes = figure.axes[0]
    shares = 100 * matrix / matrix.sum(1, keepdims=True)
    np.testing.assert_allclose(axes.images[0].get_array(), shares)
    assert axes.images[0].get_clim() == (0, 100)
    cells = texts(axes)
    assert len(cells) == classes**2
    for true in range(classes):
        for predicted in range(classes):
            lines = cells[true * classes + predicted].split("\n")
            assert lines[:2] == [str(matrix[true, predicted]), f"{shares[true, predicted]:.0f} %"]
            assert len(lines) == (3 if true == predicted else 2)
        interval = binomtest(int(matrix[true, true]), int(matrix[true].sum())).proportion_ci(method="wilson")
        expected = f"[{100 * interval.low:.0f}, {100 * interval.high:.0f}]"
        assert cells[true * (classes + 1)].split("\n")[2] == expected
    renderer = drawn(figure)
    cell = axes.get_window_extent(renderer)
    for text in axes.texts:
        box = text.get_window_extent(renderer)
        assert box.width < cell.width / classes and box.height < cell.height / classes
    for axis in (axes.xaxis, axes.yaxis):
        assert len(axis.get_ticklabels()) == classes


def test_horizontal_class_names_do_not_overlap():
    figure = figures.confusion(counts(6), [f"ten chars{i}" for i in range(6)])
    renderer = drawn(figure)
    boxes = [label.get_window_extent(renderer) for label in figure.axes[0].get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_a_class_without_examples_has_neither_share_nor_bar():
    matrix = [[9, 1], [0, 0]]
    assert texts(figures.confusion(matrix, ["a", "b"]).axes[0])[2:] == ["0", "0"]
    axes = figures.recall_bars(matrix, ["a", "b"]).axes[0]
    assert len(axes.patches) == 1 and "no examples" in texts(axes)


def test_recall_bars_have_scipys_intervals():
    matrix = np.array([[7, 3], [0, 5]])
    axes = figures.recall_bars(matrix, ["a", "b"]).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [70, 100]
    assert texts(axes) == ["7/10", "5/5"]
    for container, (hits, total) in zip(axes.containers[1::2], ((7, 10), (5, 5)), strict=True):
        ((left, _), (right, _)) = container.lines[2][0].get_segments()[0]
        interval = binomtest(hits, total).proportion_ci(method="wilson")
        np.testing.assert_allclose([left, right], [100 * interval.low, 100 * interval.high])


def test_reliability_states_the_calibration_error():
    confidence, accuracy = np.array([0.3, np.nan, 0.8]), np.array([0.5, np.nan, 0.75])
    figure = figures.reliability(confidence, accuracy, np.array([4, 0, 100]))
    # (4 · 0.2 + 100 · 0.05) / 104
    assert "5.6 %" in figure.axes[0].get_title()
    points = figure.axes[0].containers[0].lines[0]
    np.testing.assert_allclose(points.get_xydata(), [[30, 50], [80, 75]])
    drawn(figures.reliability(confidence, accuracy, np.zeros(3, int)))


@pytest.mark.parametrize(
    ("shape", "shown", "note"),
    [((5, 6), (5, 6), ""), ((5, 6, 1), (5, 6), ""), ((5, 6, 3), (5, 6, 3), ""), ((5, 6, 4), (5, 6), "channel 1 of 4")],
)
@pytest.mark.parametrize("stretch", ["linear", "asinh"])
def test_show_image(shape, shown, note, stretch):
    image = np.random.default_rng(0).normal(size=shape)
    values, said = figures.show_image(image, stretch=stretch)
    assert values.shape == shown and said == note
    assert values.min() == 0 and values.max() == pytest.approx(1)
    source = image if len(shown) == 3 or image.ndim == 2 else image[..., 0]
    np.testing.assert_array_equal(np.argsort(values.ravel()), np.argsort(source.ravel()))
    if stretch == "linear":
        np.testing.assert_allclose(values, (source - source.min()) / (source.max() - source.min()))
    else:
        linear, _ = figures.show_image(image)
        assert (values >= linear - 1e-12).all()


def test_show_image_of_nothing_and_of_bad_pixels():
    np.testing.assert_array_equal(figures.show_image(np.full((2, 2), 7.0))[0], 0)
    np.testing.assert_array_equal(figures.show_image(np.full((2, 2), np.nan))[0], 0)
    np.testing.assert_array_equal(figures.show_image(np.array([[np.nan, 1.0], [3.0, np.inf]]))[0], [[0, 0], [1, 0]])


def test_gallery_has_its_captions_frames_and_notes():
    colours = [figures.RIGHT, figures.WRONG, figures.RIGHT]
    titles = [figures.caption("FRI", "FRII", 0.923), "b", "c"]
    figure = figures.gallery(pictures(3, 5), titles, cols=2, colours=colours, centre=8, credit="source")
    used = [axes for axes in figure.axes if axes.images]
    assert len(figure.axes) == 4 and len(used) == 3 and not figure.axes[3].axison
    assert used[0].get_title() == "true FRI\npred. FRII 92 %\nchannel 1 of 5"
    for axes, colour in zip(used, colours, strict=True):
        edge = matplotlib.colors.to_hex(axes.spines["left"].get_edgecolor())
        assert edge == colour.lower()
        assert axes.get_xlim() == (3.5, 11.5) and axes.get_ylim() == (11.5, 3.5)
    assert figure.get_supxlabel() == "central 8 × 8 of 16 × 16 pixels; source"


@pytest.mark.parametrize("n", [1, 2, 7])
def test_gallery_of_any_number(n):
    drawn(figures.gallery(pictures(n), ["t"] * n))


def test_explanations_are_centred_on_zero():
    maps = {"signed": signed_maps(), "unsigned": np.abs(signed_maps()), "zero": np.zeros((2, 4, 4))}
    figure = figures.explanations(pictures(), maps, ["a", "b"])
    heats = [axes.images[0] for axes in figure.axes[:8] if axes.images]
    for row in range(2):
        _, signed, unsigned, zero = heats[4 * row : 4 * row + 4]
        low, high = signed.get_clim()
        assert low == -high
        np.testing.assert_allclose(high, np.percentile(np.abs(maps["signed"][row]), 99.5))
        assert np.allclose(signed.cmap(0.5)[:3], 1, atol=0.05)  # zero is white
        assert unsigned.get_clim()[0] == 0 and unsigned.cmap.name == "viridis"
        assert zero.get_clim() == (0, 1)
        assert signed.axes.get_xlabel() == f"s = {high:.2g}"
        assert signed.get_extent() == [-0.5, 15.5, 15.5, -0.5]  # 8 × 8 map over 16 × 16 pixels
    assert [axes.get_title() for axes in figure.axes[:4]] == ["input", "signed", "unsigned", "zero"]
    assert [axes.get_ylabel() for axes in figure.axes[:8:4]] == ["a", "b"]
    keys = [[t.get_text() for t in axes.get_xticklabels()] for axes in figure.findobj(lambda a: a in _keys(figure))]
    assert ["−s", "0", "s"] in keys and ["0", "s"] in keys


def _keys(figure):
    return [child for axes in figure.axes for child in axes.child_axes]


def test_explanations_may_be_told_the_sign_and_scale_what_is_shown():
    maps = np.zeros((1, 16, 16))
    maps[0, 0, 0], maps[0, 8, 8] = 100.0, 2.0
    figure = figures.explanations(pictures(1), {"m": maps}, ["a"], signed={"m": True}, centre=4)
    low, high = figure.axes[1].images[0].get_clim()
    assert low == -high and 0 < high <= 2
    assert "central 4 × 4" in figure.get_supxlabel()


def test_explanations_do_not_spread_bad_values():
    maps = np.ones((1, 4, 4))
    maps[0, 0, 0] = np.nan
    figure = figures.explanations(pictures(1), {"m": maps}, ["a"])
    assert all(np.isfinite(image.get_array()).all() for image in figure.findobj(AxesImage))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: figures.learning_curves([]), ["at least one row", "none"]),
        (lambda: figures.confusion(np.ones((2, 3), int), ["a", "b"]), ["(2, 2)", "(2, 3)", "rows the true class"]),
        (lambda: figures.confusion(np.full((1, 1), 0.5), ["a"]), ["whole numbers", "(1, 1)"]),
        (lambda: figures.recall_bars([[-1]], ["a"]), ["≥ 0"]),
        (lambda: figures.recall_bars(np.ones((0, 0)), []), ["(0, 0)"]),
        (lambda: figures.reliability(np.ones(3), np.ones(3), np.ones(2)), ["(bins,)", "(3,)", "(2,)", "give"]),
        (lambda: figures.gallery(pictures(2), ["a"]), ["2 images", "1 titles", "give one"]),
        (lambda: figures.gallery(pictures(2), ["a", "b"], colours=["red"]), ["2 images", "1 colours"]),
        (lambda: figures.gallery(np.ones((0, 4, 4)), []), ["at least one image", "none"]),
        (lambda: figures.explanations(pictures(2), {"lrp": signed_maps(3)}, ["a", "b"]), ["2 images", "3 maps lrp"]),
        (
            lambda: figures.explanations(pictures(2), {"lrp": np.ones((2, 8, 8, 1))}, ["a", "b"]),
            ["(N, h, w)", "(2, 8, 8, 1)", "lrp", "channels"],
        ),
        (lambda: figures.show_image(np.ones(3)), ["(H, W)", "(3,)", "one example"]),
        (lambda: figures.show_image(np.ones((3, 3)), stretch="log"), ["linear", "asinh", "log"]),
    ],
)
def test_errors_say_what_to_do(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)
