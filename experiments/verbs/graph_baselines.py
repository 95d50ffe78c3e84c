"""Baselines of graphs and sets of points: bags of features, labels that spread along edges, neighbours in common.

Each gives what a network's raw outputs would be, for every split but the training one, so that the same scores apply:
log-probabilities (R, K), or (R, rows, K) where nodes, edges, pairs or points have classes; numbers (R, D) or
(R, rows, D) in their units, or, where a network predicts a spread, standardised and with log-variances last. Nothing
but training rows that count is used to fit; rows of padding are 0.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from zoo.errors import UserError
from zoo_experiments.verbs.baselines import FLOOR, FOLDS, classify, few_threads, regress, sklearn, standardised
from zoo_experiments.verbs.experiment import Setup
from zoo_experiments.verbs.graph_features import (
    Arrays,
    around_edges,
    around_nodes,
    bags,
    counted_degrees,
    degrees,
    either,
    graphs_of,
    of_all_edges,
    of_edges,
    of_pairs,
    of_set,
    propagated_twice,
    stacked,
    with_ends,
)
from zoo_experiments.verbs.graphs import COUNT_OF_ROWS, FIELD_OF_ROWS

# Training rows that are used: twice as many gain half a per cent on `coauthors`, and take twice as long.
SAMPLED = 50_000
# One of so many records is held out to measure how wrong predictions of numbers are.
HELD_OUT = 5
# How far labels spread (Zhou+03's α, chosen on Cora's validation nodes), and by how much the classes' shares pull at
# every node.
SPREADING, PULL = 0.95, 1e-8
# Inverse penalties of the logistic regression of rows of length 1.
INVERSE_PENALTIES = tuple(10.0**power for power in range(-1, 5))

# Model → split → raw outputs.
Predicted = dict[str, dict[str, np.ndarray]]


# Whole records.


def bag_of_tags(made: Setup) -> Predicted:
    """A graph's class or numbers from sums and means of its nodes' features, and from the numbers of nodes and edges.

    For classes also "majority": the classes' shares of the training graphs.

    Raises:
        UserError: anything but a truth about each graph.
    """
    _require(made, "bag_of_tags", field="graph", rows=("",))
    return _of_records(made, bags) | _majority(made)


def bag_of_degrees(made: Setup) -> Predicted:
    """A graph's class or numbers from how many nodes have how many neighbours, and from the numbers of nodes and edges.

    What one node and its edges say, without a look at what they are joined to. For classes also "majority".

    Raises:
        UserError: anything but a truth about each graph.
    """
    _require(made, "bag_of_degrees", field="graph", rows=("",))
    train = made.data["train"].arrays
    most = max((degrees(graph).max(initial=0) for graph in graphs_of(train)), default=0)
    return _of_records(made, lambda arrays: counted_degrees(arrays, most)) | _majority(made)


def set_features(made: Setup) -> Predicted:
    """The class or numbers of a set of points from what its channels are like as a whole.

    Their number, and of each channel sum, mean, standard deviation, largest value and percentiles; of the coordinates
    in `graph_features.COORDINATES` also the eigenvalues of their weighted covariance, largest first.

    Raises:
        UserError: anything but a truth about each set of points.
    """
    _require(made, "set_features", field="points", rows=("",))

    def described(arrays: Arrays) -> np.ndarray:
        sets = zip(arrays["points"], arrays["n_point"], strict=True)
        names = list(made.channels)[: arrays["points"].shape[-1]]
        return np.stack([of_set(points[:count].astype(np.float64), names) for points, count in sets])

    return _of_records(made, described)


def _majority(made: Setup) -> Predicted:
    if made.outputs.targets:
        return {}
    log_p = np.log(_shares(made.data["train"].arrays["label"], len(made.class_names)))
    return {"majority": {split: np.tile(log_p, (len(arrays["label"]), 1)) for split, arrays in _others(made)}}


# Nodes, edges and points.


def own_features(made: Setup) -> Predicted:
    """Each node, edge or point from its own features alone, as if it were joined to nothing.

    An edge's are those it has and its kind; "…, with both ends" are models that see the features of its nodes too.

    Raises:
        UserError: a truth about whole records, or about pairs.
    """
    _require(made, "own_features", rows=("node", "edge", "point"))
    rows = made.outputs.rows
    if rows != "edge":
        return _of_rows(made, lambda arrays: arrays[FIELD_OF_ROWS[rows]][_there(arrays, rows)])
    kinds = _kinds(made)
    alone = _of_rows(made, lambda arrays: of_all_edges(arrays, kinds, of_edges))
    both = _of_rows(made, lambda arrays: of_all_edges(arrays, kinds, with_ends))
    return alone | {f"{name}, with both ends": by_split for name, by_split in both.items()}


def neighbourhood(made: Setup) -> Predicted:
    """Each node or edge from its own features and from counts and means over what it is joined to.

    A node: its own features, the number of edges that come to it, means of the senders' features, of what those get
    from their senders in turn and of the edges' features; where numbers are predicted also sums, and lg(1 + Σ 10ˣ) of
    the senders' features x, above their training mean: of masses, when x are their logarithms. For classes there are
    also models "…, propagated twice" on S² X with S = D̃^−½ (A + 1) D̃^−½ (Wu+19, SGC, https://arxiv.org/abs/1902.07153).

    An edge: its own features and kind, the features of both ends, and of the edges of each kind, as they are counted
    and as each feature weighs them: the sum over those that leave and that come to each end, the largest that leaves,
    those between the ends in either direction, and the sum over common neighbours of the product of both edges.

    Raises:
        UserError: a truth about anything else.
    """
    _require(made, "neighbourhood", field="graph", rows=("node", "edge"))
    if made.outputs.rows == "edge":
        kinds = _kinds(made)
        return _of_rows(made, lambda arrays: of_all_edges(arrays, kinds, around_edges))
    if made.outputs.targets:
        arrays = made.data["train"].arrays
        middle = arrays["nodes"][_there(arrays, "node")].mean(0, dtype=np.float64)
        return _of_rows(made, lambda arrays: stacked(arrays, lambda graph: around_nodes(graph, middle)))
    found = _of_rows(made, lambda arrays: stacked(arrays, around_nodes))
    twice = _of_rows(made, lambda arrays: stacked(arrays, propagated_twice))
    return found | {f"{name}, propagated twice": by_split for name, by_split in twice.items()}


def _kinds(made: Setup) -> int:
    """Number of kinds of edges in all splits; 1 where all are alike."""
    return 1 + max(int(source.arrays.get("edge_type", np.zeros(1)).max(initial=0)) for source in made.data.values())


# One graph.


def label_propagation(made: Setup) -> Predicted:
    """Classes of nodes from the training nodes' labels alone, spread along the edges of the one graph.

    "harmonic" (Zhu, Ghahramani & Lafferty 2003, eq. 5): labelled nodes keep their class, every other node has the mean
    of its neighbours; the classes' shares pull at it a little, which decides where no labelled node is within reach.
    "spreading" (Zhou+03): (1 − α S)⁻¹ Y with S = D^−½ A D^−½, each node's row made to sum to 1.

    Edges count in both directions.

    Raises:
        UserError: anything but classes of nodes of one graph, the same in all splits.
    """
    _require(made, "label_propagation", field="graph", rows=("node",))
    arrays, classes = made.data["train"].arrays, len(made.class_names)
    for source in made.data.values():
        same = all(np.array_equal(arrays[name], source.arrays[name]) for name in ("n_node", "senders", "receivers"))
        if made.outputs.targets or len(source) != 1 or not same:
            raise UserError(
                "The baseline label_propagation is for classes of the nodes of one graph, which is the same in all "
                f"splits; here are {_told(made)}, of {', '.join(str(len(one)) for one in made.data.values())} graphs "
                f"in {', '.join(made.data)}."
            )
    (graph,) = graphs_of(arrays)
    n = len(graph.nodes)
    known = arrays["valid"][0, :n] > 0
    labels = arrays["label"][0, :n]
    truth = np.where(known[:, None], np.eye(classes)[np.where(known, labels, 0)], 0.0)
    shares = _shares(labels[known], classes)
    around = either(graph.joined())
    found: Predicted = {"harmonic": {}, "spreading": {}}
    for name, p in zip(found, (harmonic(around, truth, shares), spreading(around, truth, shares)), strict=True):
        p = np.maximum(p, FLOOR)
        for split, other in _others(made):
            found[name][split] = _placed(np.log(p / p.sum(1, keepdims=True)), _there(other, "node"))
    return found


def harmonic(around: sparse.csr_array, truth: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Probabilities (n, K): of labelled nodes their truth, of others the mean of their neighbours.

    Args:
        around: (n, n) symmetric, 1 where nodes are joined.
        truth: (n, K), 1 at the class of a labelled node, 0 elsewhere.
        shares: (K,) probabilities of nodes without a way to a labelled one.
    """
    known = truth.sum(1) > 0
    p, free = truth.astype(np.float64), np.flatnonzero(~known)
    if len(free):
        balance = sparse.diags_array(around.sum(1) + PULL) - around
        given = around[free] @ truth + PULL * shares
        p[free] = splu(balance.tocsr()[free][:, free].tocsc()).solve(given)
    return p


def spreading(around: sparse.csr_array, truth: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Probabilities (n, K) ∝ (1 − α S)⁻¹ Y with α of `SPREADING`; arguments as of `harmonic`."""
    half = sparse.diags_array(np.maximum(around.sum(1), 1) ** -0.5)
    left = sparse.eye_array(len(truth)) - SPREADING * (half @ around @ half)
    reached = splu(left.tocsc()).solve(truth.astype(np.float64))
    total = reached.sum(1, keepdims=True)
    return np.where(total > 0, reached / np.where(total > 0, total, 1), shares)


def common_neighbours(made: Setup) -> Predicted:
    """Whether two nodes are joined, from common neighbours, the Adamic–Adar index and the cosine of their features.

    Adamic & Adar (2003), Liben-Nowell & Kleinberg (2007, https://doi.org/10.1002/asi.20591, table 1). An edge between
    the two themselves, which training pairs that are joined have, is in none of the three. "common neighbours",
    "Adamic–Adar" and "cosine" are logistic regressions on one; the other models have all.

    Raises:
        UserError: anything but classes of pairs.
    """
    _require(made, "common_neighbours", field="graph", rows=("pair",))
    if len(made.class_names) != 2:
        raise UserError(f"The baseline common_neighbours is for no and yes, got the classes {made.class_names}.")
    together = _of_rows(made, of_pairs)
    scores = {split: of_pairs(source.arrays) for split, source in made.data.items()}
    arrays = made.data["train"].arrays
    valid = arrays["valid"][_there(arrays, "pair")] > 0
    labels = arrays["label"][_there(arrays, "pair")][valid]
    found: Predicted = {}
    for column, name in enumerate(("common neighbours", "Adamic–Adar", "cosine")):
        model = standardised(sklearn("linear_model").LogisticRegression())
        with few_threads():
            model.fit(scores["train"][valid][:, [column]], labels)
        found[name] = {}
        for split, others in _others(made):
            logit = model.decision_function(scores[split][:, [column]])
            log_p = -np.logaddexp(0, np.stack([logit, -logit], axis=-1))
            found[name][split] = _placed(log_p, _there(others, "pair"))
    return found | together


# From tables of features to raw outputs.


def _of_records(made: Setup, describe: Callable[[Arrays], np.ndarray]) -> Predicted:
    """Models on one row of features for each record."""
    tables = {split: describe(source.arrays) for split, source in made.data.items()}
    truth = made.data["train"].arrays[made.outputs.truth]
    return _fitted(made, tables, truth, np.arange(len(truth)))


def _of_rows(made: Setup, describe: Callable[[Arrays], np.ndarray]) -> Predicted:
    """Models on the rows of all records of a split that are no padding, one after another; outputs (R, rows, …)."""
    rows, arrays = made.outputs.rows, made.data["train"].arrays
    tables = {split: describe(source.arrays) for split, source in made.data.items()}
    there = _there(arrays, rows)
    counted = np.flatnonzero(arrays["valid"][there] > 0)
    if len(counted) > SAMPLED:
        chosen = np.random.default_rng(made.experiment.seed).choice(len(counted), SAMPLED, replace=False)
        counted = counted[np.sort(chosen)]
    tables["train"] = tables["train"][counted]
    found = _fitted(made, tables, arrays[made.outputs.truth][there][counted], np.nonzero(there)[0][counted])
    others = {split: _there(arrays, rows) for split, arrays in _others(made)}
    return {
        name: {split: _placed(values, others[split]) for split, values in by_split.items()}
        for name, by_split in found.items()
    }


def _fitted(made: Setup, tables: Mapping[str, np.ndarray], truth: np.ndarray, record: np.ndarray) -> Predicted:
    """Model → split → rows of outputs for tables of features; those of train have this truth and are of this record."""
    outputs, seed, known = made.outputs, made.experiment.seed, tables["train"]
    others = [split for split in tables if split != "train"]
    together = np.concatenate([tables[split] for split in others])
    if not outputs.targets:
        by_model = classify(known, truth, together, num_classes=len(made.class_names), seed=seed)
        if known.shape[1] > len(known):
            by_model["logistic regression"] = _of_words(known, truth, together, len(made.class_names), seed)
    else:
        by_model = regress(known, truth, together, seed=seed)
        if outputs.spread:
            by_model = _with_spread(outputs, by_model, known, truth, record, seed)
    borders = np.cumsum([len(tables[split]) for split in others])[:-1]
    return {name: dict(zip(others, np.split(values, borders), strict=True)) for name, values in by_model.items()}


def _of_words(x: np.ndarray, labels: np.ndarray, others: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Log-probabilities (M, K) of logistic regression on more features than training rows, as counts of words are.

    Rows are brought to length 1. Standardised columns would let words that came once speak as loud as all others.
    """
    linear, select, scaling = (sklearn(name) for name in ("linear_model", "model_selection", "preprocessing"))
    known, counts = np.unique(labels, return_counts=True)
    model = linear.LogisticRegression(max_iter=1000)
    if counts.min() > 1:
        folds = select.StratifiedKFold(min(FOLDS, counts.min()), shuffle=True, random_state=seed)
        model = select.GridSearchCV(model, {"C": INVERSE_PENALTIES}, scoring="neg_log_loss", cv=folds)
    with few_threads():
        model.fit(scaling.normalize(x), labels)
        p = np.full((len(others), classes), FLOOR)
        p[:, known] = np.maximum(model.predict_proba(scaling.normalize(others)), FLOOR)
    return np.log(p / p.sum(1, keepdims=True))


def _with_spread(
    outputs: Any, by_model: Mapping[str, np.ndarray], x: np.ndarray, truth: np.ndarray, record: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Standardised predictions (M, D) with one log-variance for all, of errors on training records that are held out.

    Errors on what a forest was fitted to would be too small, and rows of one graph are alike.
    """
    centre, scale = np.asarray(outputs.centre), np.asarray(outputs.scale)
    _, number = np.unique(record, return_inverse=True)
    if number.max() + 1 < HELD_OUT:
        number = np.arange(len(record))
    out = number % HELD_OUT == HELD_OUT - 1
    checked = regress(x[~out], truth[~out], x[out], seed=seed)
    found = {}
    for name, values in by_model.items():
        errors = (checked[name] - truth[out]) / scale
        log_variance = np.broadcast_to(np.log(np.maximum(np.mean(errors**2, axis=0), FLOOR**2)), values.shape)
        found[name] = np.concatenate([(values - centre) / scale, log_variance], axis=-1)
    return found


def _placed(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Rows (M, K) put where records have rows (R, rows), 0 elsewhere: (R, rows, K) float32."""
    found = np.zeros((*there.shape, values.shape[-1]), np.float32)
    found[there] = values
    return found


def _there(arrays: Arrays, rows: str) -> np.ndarray:
    """(R, rows), whether a row is one of the record and no padding."""
    return np.arange(arrays[FIELD_OF_ROWS[rows]].shape[1]) < arrays[COUNT_OF_ROWS[rows]][:, None]


def _shares(labels: np.ndarray, classes: int) -> np.ndarray:
    counts = np.maximum(np.bincount(labels, minlength=classes) / max(len(labels), 1), FLOOR)
    return counts / counts.sum()


def _others(made: Setup) -> Iterator[tuple[str, Arrays]]:
    return ((split, source.arrays) for split, source in made.data.items() if split != "train")


def _told(made: Setup) -> str:
    what = "numbers" if made.outputs.targets else "classes"
    of = f"every {made.outputs.rows}" if made.outputs.rows else "the whole"
    return f"{what} of {of} of {'sets of points' if made.field == 'points' else f'{made.field}s'}"


def _require(made: Setup, name: str, *, rows: tuple[str, ...], field: str = "") -> None:
    if made.outputs.rows not in rows or (field and made.field != field):
        of = " or ".join(row or "record" for row in rows)
        kind = {"graph": " in graphs", "points": " in sets of points"}.get(field, "")
        raise UserError(f"The baseline {name} is for a truth of every {of}{kind}; here are {_told(made)}.")


# What `Experiment.baseline` may name for graphs and sets of points.
BASELINES: Mapping[str, Callable[[Setup], Predicted]] = {
    "bag_of_tags": bag_of_tags,
    "bag_of_degrees": bag_of_degrees,
    "own_features": own_features,
    "neighbourhood": neighbourhood,
    "label_propagation": label_propagation,
    "common_neighbours": common_neighbours,
    "set_features": set_features,
}
