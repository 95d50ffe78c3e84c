"""Figures of graphs and sets of points: what is drawn is what was given, in its colour, at its place."""

import math

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgba
from matplotlib.text import Text
from scipy import stats

from zoo_experiments.verbs import figures, graph_figures
from zoo_experiments.verbs.graph_figures import CLASS_COLOURS, UNKNOWN
from zoo_experiments.verbs.graph_layouts import Drawing, around, layout

RANDOM = np.random.default_rng(0)
# A ring of six with one node beside, and a pair; each edge in both directions.
_ONCE = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 0], [0, 6], [7, 8]])
SENDERS, RECEIVERS = np.concatenate([_ONCE, _ONCE[:, ::-1]]).T
PLACES = layout(SENDERS, RECEIVERS, 9)
CLASSES = np.array([0, 1, 1, 0, -1, 0, 2, 1, 0])
TRUE = np.array([0, 1, 0, -1, 1, 0, 1, 1, 0])
GIVEN = np.arange(9) == 1
EDGE_CLASSES = np.tile([0, 1, 1, 0, 0, -1, 0, 1], 2)
TRUE_EDGES = np.tile([0, 1, 0, 0, 0, 0, 0, 1], 2)
JETS = {"delta_eta": "1", "delta_phi": "rad", "log_pt": "ln GeV"}
HITS = {"x": "m", "y": "m", "z": "m", "time": "ns", "charge": "photoelectrons"}


def drawing(**options):
    return Drawing(SENDERS, RECEIVERS, PLACES, **options)


def clouds(count, channels, sizes=(5, 1, 30)):
    return [RANDOM.uniform(0.5, 3, (sizes[i % len(sizes)], channels)) for i in range(count)]


def spread(n):
    sigma = RANDOM.uniform(0.1, 0.4, n)
    return sigma * RANDOM.normal(size=n), sigma


FIGURES = {
    "classes": lambda: graph_figures.graphs(
        [drawing(nodes=CLASSES, true_nodes=TRUE, given=GIVEN)] * 5, ["true a\npred. a 90 %"] * 5,
        class_names=("a", "another class", "c"), colours=["k"] * 5, credit="me",
    ),
    "one": lambda: graph_figures.graphs([drawing()], ["a graph"]),
    "numbers": lambda: graph_figures.graphs(
        [drawing(nodes=np.linspace(-3, 1, 9)), drawing(nodes=np.zeros(9))], ["a", "b"], quantity="score (nats)",
        signed=True,
    ),
    "edges": lambda: graph_figures.graphs(
        [drawing(edges=EDGE_CLASSES, true_edges=TRUE_EDGES)], ["a"], edge_names=("group", "other")
    ),
    "nothing": lambda: graph_figures.graphs([Drawing([], [], np.zeros((0, 2))), Drawing([], [], np.zeros((2, 2)))],
                                            ["empty", "no edges"]),
    "many_classes": lambda: graph_figures.graphs(
        [drawing(nodes=np.arange(9) + 8)], ["a"], class_names=[f"class {k}" for k in range(20)]
    ),
    "attention": lambda: graph_figures.attention(
        drawing(nodes=CLASSES, given=GIVEN), RANDOM.uniform(size=(16, 3)), own=RANDOM.uniform(size=(9, 3)),
        class_names="abc", title="layer 1",
    ),
    "embedding": lambda: graph_figures.embedding(
        RANDOM.normal(size=(40, 5)), np.arange(40) % 4 - 1, ("a", "b", "c"), truth=np.arange(40) % 3, title="Cora"
    ),
    "jets": lambda: graph_figures.point_sets(
        clouds(6, 3), ["true one\npred. two"] * 6, JETS, coordinates=("delta_eta", "delta_phi"), area="log_pt",
        credit="me",
    ),
    "hits": lambda: graph_figures.point_sets(
        clouds(3, 5), ["muon"] * 3, HITS, coordinates="xyz", colour="charge", log=True
    ),
    "point_classes": lambda: graph_figures.point_sets(
        clouds(2, 3), ["event 1", "2"], JETS, coordinates=("delta_eta", "delta_phi"), area="log_pt",
        classes=[np.arange(5) % 2, np.array([0])], true_classes=[np.arange(5) % 3, np.array([0])],
        class_names=("other", "W", "b"),
    ),
    "calibration": lambda: graph_figures.calibration_of_spread(*spread(400), unit="dex", floor=np.full(400, 0.2)),
    "few": lambda: graph_figures.calibration_of_spread(np.full(5, 9.0), np.ones(5)),
    "map": lambda: graph_figures.positions_map(
        RANDOM.uniform(0, 50, (80, 3)), RANDOM.normal(size=80), quantity="error / σ", unit="Mpc", signed=True,
        log_mass=RANDOM.uniform(11, 13.5, 80), title="box",
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
    # The tight box leaves out the labels of axes in space.
    for axes in figure.axes:
        for label in (getattr(axes, f"{which}axis").label for which in "xyz" if hasattr(axes, f"{which}axis")):
            at = label.get_window_extent(renderer)
            assert not label.get_text() or (min(at.x0, at.y0) >= 0 and at.x1 <= 100 * width and at.y1 <= 100 * height)
    texts = [axes.title for axes in figure.axes] + [t for key in figure.legends for t in key.get_texts()]
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    for i, first in enumerate(boxes):
        assert not any(first.overlaps(second) for second in boxes[i + 1 :])
    assert not any("nan" in text.get_text().lower() for text in figure.findobj(Text))
    assert figures.to_data_uri(figure, dpi=40).startswith("data:image/png;base64")


def distances(places, pairs):
    return np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1)


def test_a_ring_is_round_and_a_chain_is_straight():
    ring = layout(np.arange(8), (np.arange(8) + 1) % 8, 8)
    # The optimiser stops early; a tenth of an edge is less than a dot.
    np.testing.assert_allclose(np.linalg.norm(ring - ring.mean(0), axis=1), 0.5 / math.sin(math.pi / 8), atol=0.1)
    chain = layout(np.arange(6), np.arange(6) + 1, 7)
    np.testing.assert_allclose(np.ptp(chain, axis=0), [6, 0], atol=0.1)


def test_what_a_layout_depends_on():
    again = layout(RECEIVERS[::-1], SENDERS[::-1], 9)
    np.testing.assert_array_equal(layout(SENDERS, RECEIVERS, 9), PLACES)
    loops = layout(np.r_[SENDERS, 3], np.r_[RECEIVERS, 3], 9)
    once = layout(_ONCE[:, 0], _ONCE[:, 1], 9)
    for other in (again, loops, once):
        np.testing.assert_allclose(distances(other, _ONCE), distances(PLACES, _ONCE), rtol=1e-3)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 25), st.integers(0, 30), st.integers(0, 2**16))
def test_parts_of_a_graph_stand_apart(nodes, edges, seed):
    ends = np.random.default_rng(seed).integers(0, max(nodes, 1), (edges if nodes else 0, 2))
    places = layout(ends[:, 0], ends[:, 1], nodes)
    assert places.shape == (nodes, 2) and np.isfinite(places).all()
    whose = np.arange(nodes)
    for _ in range(nodes):
        for a, b in ends:
            whose[[a, b]] = min(whose[a], whose[b])
    boxes = [(places[whose == k].min(0), places[whose == k].max(0)) for k in np.unique(whose)]
    for i, (low, high) in enumerate(boxes):
        # One edge between them, side by side or above each other.
        for other_low, other_high in boxes[i + 1 :]:
            assert np.any((low >= other_high + 1 - 1e-9) | (other_low >= high + 1 - 1e-9))


def test_large_graphs_are_laid_out_by_springs_with_neighbours_near():
    side = 13
    numbers = np.arange(side**2).reshape(side, side)
    pairs = np.concatenate(
        [np.stack([numbers[:-1], numbers[1:]], -1), np.stack([numbers.T[:-1], numbers.T[1:]], -1)]
    ).reshape(-1, 2)
    places = layout(pairs[:, 0], pairs[:, 1], side**2, seed=1)
    strangers = RANDOM.integers(0, side**2, (500, 2))
    assert np.median(distances(places, pairs)) == pytest.approx(1)
    assert np.mean(distances(places, strangers)) > 3 * np.mean(distances(places, pairs))


def test_places_that_are_known_are_taken():
    positions = RANDOM.normal(size=(9, 3))
    np.testing.assert_array_equal(layout(SENDERS, RECEIVERS, 9, positions=positions), positions[:, :2])


def test_what_is_around_a_node_of_a_chain():
    senders, receivers = np.arange(9), np.arange(9) + 1
    nodes, edges, *ends = around(senders, receivers, 4, hops=2)
    assert nodes.tolist() == [4, 3, 5, 2, 6] and edges.tolist() == [2, 3, 4, 5]
    np.testing.assert_array_equal(nodes[ends], [senders[edges], receivers[edges]])
    nodes, edges, *_ = around(senders, receivers, 4, hops=5, most=4)
    assert nodes.tolist() == [4, 3, 5, 2] and edges.tolist() == [2, 3, 4]
    assert [len(part) for part in around(senders[:2], receivers[:2], 7)] == [1, 0, 0, 0]


def dots(axes):
    """(x, y) → face, rim, marker's number of corners, area and width of the rim; of what is drawn as points."""
    found = {}
    for points in axes.collections:
        if not hasattr(points, "get_sizes") or not len(points.get_offsets()):
            continue
        count = len(points.get_offsets())
        faces, rims = (np.resize(c, (count, 4)) for c in (points.get_facecolors(), points.get_edgecolors()))
        sizes, widths = (np.resize(c, count) for c in (points.get_sizes(), points.get_linewidths()))
        corners = len(points.get_paths()[0].vertices)
        for at, face, rim, size, width in zip(points.get_offsets(), faces, rims, sizes, widths, strict=True):
            found[tuple(np.round(at, 6))] = (to_hex(face), to_hex(rim), corners, size, width)
    return found


def lines(axes):
    """Frozen sets of two ends → colours and widths, the lowest first."""
    found = {}
    for some in sorted((c for c in axes.collections if hasattr(c, "get_segments")), key=lambda c: c.get_zorder()):
        count = len(some.get_segments())
        if not count:
            continue
        colours, widths = np.resize(some.get_colors(), (count, 4)), np.resize(some.get_linewidths(), count)
        for ends, colour, width in zip(some.get_segments(), colours, widths, strict=True):
            key = tuple(tuple(end) for end in np.round(ends, 6))
            found.setdefault(frozenset(key), []).append((to_hex(colour), width, key))
    return found


def test_nodes_have_their_class_and_mistakes_a_rim_of_the_true_one():
    axes = FIGURES["classes"]().axes[0]
    found = dots(axes)
    right = found[tuple(np.round(PLACES[0], 6))]
    for place, k, true, given_ in zip(PLACES, CLASSES, TRUE, GIVEN, strict=True):
        face, rim, corners, size, width = found[tuple(np.round(place, 6))]
        assert face == to_hex(UNKNOWN if k < 0 else CLASS_COLOURS[k])
        wrong = true >= 0 and true != k
        assert rim == (to_hex(CLASS_COLOURS[true]) if wrong else to_hex("0.2"))
        assert (size > right[3] and width > 4 * right[4]) if wrong else (size, width) == right[3:]
        # Squares are of class that was given.
        assert (corners == 5) == given_
    assert len(found) == 9


def test_an_edge_and_its_way_back_are_one_line_with_its_class():
    axes = FIGURES["edges"]().axes[0]
    found = lines(axes)
    assert len(found) == 8
    for (a, b), k, true in zip(_ONCE, EDGE_CLASSES[:8], TRUE_EDGES[:8], strict=True):
        drawn = found[frozenset(tuple(np.round(PLACES[node], 6)) for node in (a, b))]
        face = to_hex("0.85") if k < 0 else CLASS_COLOURS[k].lower()
        if true == k:
            assert [colour for colour, *_ in drawn] == [face]
        else:
            # Predicted class above the wider true one.
            assert [colour for colour, *_ in drawn] == [CLASS_COLOURS[true].lower(), face]
            assert drawn[0][1] > 2 * drawn[1][1]
    both = Drawing([0, 1], [1, 0], np.eye(2), edges=np.array([0, 1]))
    drawn = lines(graph_figures.graphs([both], ["a"]).axes[0])
    assert len(next(iter(drawn.values()))) == 2


def diverging(share):
    return matplotlib.colormaps[figures.DIVERGING](share)


def said(figure):
    return [text.get_text() for key in figure.legends for text in key.get_texts()]


def test_keys_say_what_is_there():
    assert said(FIGURES["classes"]()) == ["a", "another class", "c", "class was given", "rim: true class"]
    assert said(FIGURES["edges"]()) == ["group", "other", "rim: true class"]
    assert said(FIGURES["many_classes"]()) == [f"class {k}" for k in range(8, 17)]
    assert said(FIGURES["point_classes"]()) == ["other", "W", "b", "rim: true class"]
    assert said(FIGURES["one"]()) == []
    right = graph_figures.graphs([drawing(nodes=CLASSES, true_nodes=CLASSES)], ["a"], class_names="abc")
    assert said(right) == ["a", "b", "c"]


def test_classes_beyond_the_colours_have_other_markers():
    found = dots(FIGURES["many_classes"]().axes[0])
    looks = [found[tuple(np.round(place, 6))][:3:2] for place in PLACES]
    assert len(set(looks)) == 9 and looks[0][0] == looks[8][0] == CLASS_COLOURS[0].lower()


def test_numbers_with_signs_are_white_at_nought_on_one_scale():
    figure = FIGURES["numbers"]()
    first, second, bar = (dots(axes) for axes in figure.axes)
    assert all(face == to_hex(diverging(0.5)) for face, *_ in second.values())
    # The largest of all, −3, ends the scale on both sides, but for the 99th percentile of 18 numbers.
    end = np.percentile(np.abs(np.r_[np.linspace(-3, 1, 9), np.zeros(9)]), 99)
    expected = [to_hex(diverging((x + end) / (2 * end))) for x in np.linspace(-3, 1, 9)]
    assert [first[tuple(np.round(place, 6))][0] for place in PLACES] == expected
    assert not bar and figure.axes[-1].get_ylabel() == "score (nats)"


def test_half_of_an_edge_is_what_the_node_there_takes():
    weights, own = np.stack([np.arange(16.0), np.arange(16.0) + 2], 1), np.linspace(0, 16, 9)
    figure = graph_figures.attention(drawing(), weights, own=own)
    axes, bar = figure.axes
    found = lines(axes)
    assert len(found) == 16 and bar.get_ylim() == (0, 16)
    widths = []
    for a, b in zip(SENDERS, RECEIVERS, strict=True):
        ends = [tuple(np.round(PLACES[[a, b]].mean(0), 6)), tuple(np.round(PLACES[b], 6))]
        ((_, width, key),) = found[frozenset(ends)]
        assert key == tuple(ends)
        widths.append(width)
    # The mean over heads is 1 … 16, of which 16 is the widest.
    np.testing.assert_allclose(widths, 0.5 + 6 * np.arange(1, 17) / 16)
    rings = axes.collections[1].get_sizes() ** 0.5
    np.testing.assert_allclose(np.diff(rings), 6 * 2 / 16)
    assert "itself" in figure.get_supxlabel()
    assert "itself" not in graph_figures.attention(drawing(), weights).get_supxlabel()


def test_an_embedding_is_the_two_principal_components():
    points = RANDOM.normal(size=(60, 4)) * [1, 5, 0.1, 2] + 7
    labels = np.arange(60) % 3 - 1
    figure = graph_figures.embedding(points, labels, ("a", "b"))
    axes = figure.axes[0]
    values, vectors = np.linalg.eigh(np.cov(points.T))
    shares = values[::-1] / values.sum()
    assert axes.get_xlabel() == f"1st component ({100 * shares[0]:.0f} % of variance)"
    assert axes.get_ylabel() == f"2nd component ({100 * shares[1]:.0f} % of variance)"
    vectors = vectors[:, :-3:-1]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), [0, 1]])
    found = dots(axes)
    for place, k in zip((points - points.mean(0)) @ vectors, labels, strict=True):
        face, _, _, _, rim = found[tuple(np.round(place, 6))]
        assert face == to_hex(UNKNOWN if k < 0 else CLASS_COLOURS[k]) and rim == 0
    assert said(figure) == ["a (20)", "b (20)", "unknown (20)"]
    flat = graph_figures.embedding(np.ones((3, 1)), np.zeros(3, int), ("a",)).axes[0]
    assert flat.get_ylabel() == "2nd component (0 % of variance)"


def test_mistakes_in_an_embedding_have_a_rim():
    figure = graph_figures.embedding(
        RANDOM.normal(size=(6, 2)), np.zeros(6, int), ("a", "b"), truth=[0, 0, 1, -1, 1, 0]
    )
    assert (
        sorted(rim for _, rim, _, _, width in dots(figure.axes[0]).values() if width) == [CLASS_COLOURS[1].lower()] * 2
    )
    assert said(figure)[-1] == "rim: true class (2)"


def test_points_are_at_their_coordinates_with_areas_as_their_momentum():
    records = clouds(3, 3)
    figure = graph_figures.point_sets(
        records, ["a", "b", "c"], JETS, coordinates=("delta_phi", "delta_eta"), area="log_pt", columns=2
    )
    every = np.concatenate(records)
    for axes, points in zip(figure.axes, records, strict=True):
        order = np.argsort(-points[:, 2])
        drawn = axes.collections[0]
        np.testing.assert_allclose(drawn.get_offsets(), points[order][:, [1, 0]])
        expected = np.maximum(300 * np.exp(points[order, 2] - every[:, 2].max()), 3)
        np.testing.assert_allclose(drawn.get_sizes(), expected)
        assert axes.get_xlim() == figure.axes[0].get_xlim() and axes.get_ylim() == figure.axes[0].get_ylim()
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "delta phi (rad)", "delta phi (rad)"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["delta eta", "", "delta eta"]
    assert figure.get_supxlabel() == "area: pt (GeV)"


def test_points_in_space_have_the_colour_of_a_channel():
    figure = FIGURES["hits"]()
    first, *_, bar = figure.axes
    assert (first.get_xlabel(), first.get_ylabel(), first.get_zlabel()) == ("x (m)", "y (m)", "z (m)")
    assert bar.get_ylabel() == "charge (photoelectrons)" and bar.get_yscale() == "log"
    assert len(figure.axes) == 4


def test_points_have_their_classes():
    axes = FIGURES["point_classes"]().axes[0]
    faces = [face for face, *_ in dots(axes).values()]
    assert sorted(faces) == sorted(CLASS_COLOURS[k % 2].lower() for k in range(5))
    rims = [rim for _, rim, _, _, width in dots(axes).values() if width > 1]
    assert sorted(rims) == sorted(CLASS_COLOURS[k].lower() for k in (2, 0, 1))


def test_calibration_shows_errors_over_sigma_and_their_size_against_it():
    errors, sigma = spread(1000)
    figure = graph_figures.calibration_of_spread(errors, sigma, unit="dex", floor=sigma, bins=4)
    left, right = figure.axes
    heights = np.array([bar.get_height() for bar in left.patches])
    assert heights.sum() * 0.25 == pytest.approx(1) and len(heights) == 40
    z = errors / sigma
    assert left.get_title() == f"mean {z.mean():.2f}, rms {np.sqrt((z**2).mean()):.2f}, 0 of 1,000 beyond ±5"
    middle = left.lines[0].get_xydata()[100]
    np.testing.assert_allclose(middle, [0, 1 / math.sqrt(2 * math.pi)], atol=1e-12)
    order = np.argsort(sigma).reshape(4, 250)
    container = right.containers[0]
    expected = np.sqrt([[(sigma[g] ** 2).mean(), (errors[g] ** 2).mean()] for g in order])
    np.testing.assert_allclose(container.lines[0].get_xydata(), expected)
    # The true σ is within the interval as often as it says: both ends are quantiles of χ².
    for (_, rms), segment in zip(expected, container.lines[2][0].get_segments(), strict=True):
        inside = stats.chi2.cdf(250 * rms**2 / segment[:, 1] ** 2, 250)
        np.testing.assert_allclose(inside, [0.975, 0.025], atol=1e-9)
    np.testing.assert_allclose(right.lines[-1].get_ydata(), expected[:, 0])
    assert (right.get_xlabel(), right.get_ylabel()) == ("predicted σ (dex)", "rms error (dex)")
    assert right.get_xlim() == right.get_ylim()


def test_errors_beyond_the_axis_are_told():
    left, _ = FIGURES["few"]().axes
    assert left.get_title().endswith("5 of 5 beyond ±5") and sum(bar.get_height() for bar in left.patches) == 0


def test_a_map_has_places_areas_by_mass_and_white_at_nought():
    positions = np.arange(12.0).reshape(4, 3)
    figure = graph_figures.positions_map(
        positions, np.array([-1.0, 0.0, 1.0, 0.5]), quantity="error / σ", unit="Mpc", signed=True,
        log_mass=np.array([12.0, 13.5, 12.0, 13.0]), axes=(2, 0),
    )  # fmt: skip
    axes, bar = figure.axes
    drawn = axes.collections[0]
    # The heaviest is drawn first.
    np.testing.assert_array_equal(drawn.get_offsets(), positions[[1, 3, 0, 2]][:, [2, 0]])
    np.testing.assert_allclose(drawn.get_sizes() / drawn.get_sizes()[0], [1, 10 ** (-1 / 3), 0.1, 0.1])
    np.testing.assert_allclose(drawn.get_facecolors()[0], diverging(0.5))
    assert drawn.get_facecolors()[2][2] > drawn.get_facecolors()[2][0]
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("z (Mpc)", "x (Mpc)", "error / σ")
    assert said(figure)[-1] == "$10^{13.5}$ solar masses"
    plain = graph_figures.positions_map(positions, np.arange(4.0), quantity="lg M", unit="Mpc")
    assert len(set(plain.axes[0].collections[0].get_sizes())) == 1 and not plain.legends
    assert to_rgba(diverging(0.0))[2] > to_rgba(diverging(0.0))[0]


FLAT = {"coordinates": ("delta_eta", "delta_phi")}


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda: Drawing([0, 1], [1, 2], np.zeros((2, 2))), ["2 places", "0 … 2"]),
        (lambda: Drawing([0], [1, 0], np.zeros((2, 2))), ["senders and receivers (e,)", "got 1 and 2"]),
        (lambda: drawing(nodes=np.zeros(8, int)), ["nodes (9,)", "got (8,)"]),
        (lambda: drawing(true_edges=np.zeros(9, int)), ["true_edges (16,)", "got (9,)"]),
        (lambda: layout([0], [3], 3), ["0 … 2", "0 … 3"]),
        (lambda: layout([0], [1], 3, positions=np.zeros((3, 1))), ["positions (3, 2 or more)", "(3, 1)"]),
        (lambda: graph_figures.graphs([], []), ["at least one record", "got 0"]),
        (lambda: graph_figures.graphs([drawing()], []), ["a title for each", "got 1, 0"]),
        (lambda: graph_figures.graphs([drawing(nodes=np.full(9, np.nan))], ["a"]), ["finite numbers", "none"]),
        (lambda: graph_figures.attention(drawing(), np.ones(15)), ["weights (16,)", "got (15,)"]),
        (lambda: graph_figures.attention(drawing(), -np.ones(16)), ["none negative", "-1"]),
        (lambda: graph_figures.attention(drawing(), np.ones(16), own=np.ones(8)), ["own (9,)", "got (8,)"]),
        (lambda: graph_figures.attention(drawing(nodes=np.ones(9)), np.ones(16)), ["by class", "got numbers"]),
        (lambda: graph_figures.embedding(np.ones((1, 2)), [0], "a"), ["n at least 2", "(1, 2)"]),
        (lambda: graph_figures.embedding(np.full((2, 2), np.inf), [0, 0], "a"), ["finite points"]),
        (lambda: graph_figures.point_sets([np.zeros((0, 3))], ["a"], JETS, **FLAT), ["at least one point"]),
        (lambda: graph_figures.point_sets(clouds(1, 3), ["a"], JETS, coordinates=("x", "y")), ["delta_eta", "x, y"]),
        (lambda: graph_figures.point_sets(clouds(1, 3), ["a"], JETS, coordinates=("log_pt",)), ["two or three"]),
        (
            lambda: graph_figures.point_sets([-np.ones((2, 3))], ["a"], JETS, colour="log_pt", log=True, **FLAT),
            ["positive", "none"],
        ),
        (lambda: graph_figures.calibration_of_spread(np.ones(4), np.ones(4)), ["at least 5", "(4,)"]),
        (lambda: graph_figures.calibration_of_spread(np.ones(6), np.arange(6.0)), ["positive, finite spread"]),
        (
            lambda: graph_figures.positions_map(np.ones((3, 3)), np.ones(2), quantity="a", unit="m"),
            ["values (n,)", "(2,)"],
        ),
        (
            lambda: graph_figures.positions_map(
                np.ones((3, 3)), np.ones(3), quantity="a", unit="m", log_mass=np.ones(2)
            ),
            ["log_mass (3,)", "(2,)"],
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, parts):
    with pytest.raises(ValueError) as caught:
        call()
    assert [part for part in parts if part not in str(caught.value)] == []
