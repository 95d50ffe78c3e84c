"""Networks of authors: that edges are what papers, institutes and citations make them, and labels what groups do."""

import numpy as np
import pytest

from zoo_datasets import coauthors as module
from zoo_datasets import simulation
from zoo_datasets.loading import catalogue
from zoo_datasets.loading.graph_records import require_graph

COUNT = 40
COAUTHORS, INSTITUTE, CITES = range(3)


def simulated(number):
    return module.simulate(simulation.generator("coauthors", "default", "test", number))


@pytest.fixture(scope="module")
def records():
    """Forty networks; 1 s."""
    return [simulated(number) for number in range(COUNT)]


def of_type(record, kind):
    """(sender, receiver) → row of the edges of a type."""
    rows = np.flatnonzero(record["edge_type"] == kind)
    pairs = zip(record["senders"][rows].tolist(), record["receivers"][rows].tolist(), strict=True)
    found = dict(zip(pairs, rows.tolist(), strict=True))
    assert len(found) == len(rows)
    return found


def test_records_are_graphs(records):
    for record in records:
        require_graph("coauthors", record, num_classes=3)
        assert record.keys() == module.FEATURES.keys()
        assert (record["senders"] != record["receivers"]).all()
        assert set(np.bincount(record["group"]) > 2) == {True} and len(np.bincount(record["group"])) == module.GROUPS
        order = np.lexsort((record["edge_type"], record["senders"], record["receivers"]))
        np.testing.assert_array_equal(order, np.arange(len(order)))


def test_joint_papers_and_institutes_go_both_ways_and_citations_one(records):
    for record in records[:5]:
        for kind in (COAUTHORS, INSTITUTE):
            rows = of_type(record, kind)
            for (a, b), row in rows.items():
                np.testing.assert_array_equal(record["edges"][row], record["edges"][rows[b, a]])
                assert record["edge_label"][row] == record["edge_label"][rows[b, a]]
        cites = of_type(record, CITES)
        assert any((b, a) not in cites for a, b in cites)
        assert (record["edges"][record["edge_type"] == INSTITUTE] == 0).all()
        counts = np.expm1(record["edges"][record["edge_type"] != INSTITUTE, 0])
        np.testing.assert_allclose(counts, np.round(counts), atol=1e-4)  # float32 logarithms of up to some 30
        assert counts.min() > 0.5


def test_labels_are_those_of_the_groups(records):
    """Only joint papers have one; two groups are a collaboration; supervision has one head in each group."""
    for record in records:
        group, labels = record["group"], record["edge_label"]
        np.testing.assert_array_equal(labels >= 0, record["edge_type"] == COAUTHORS)
        a, b = record["senders"], record["receivers"]
        joint = record["edge_type"] == COAUTHORS
        np.testing.assert_array_equal(labels[joint] == 2, (group[a] != group[b])[joint])
        for number in range(module.GROUPS):
            edges = [{x, y} for x, y, label in zip(a, b, labels, strict=True) if label == 0 and group[x] == number]
            assert not edges or set.intersection(*edges)


def test_institutes_join_all_whose_institute_is_known(records):
    known = 0
    for record in records:
        edges = set(of_type(record, INSTITUTE))
        home = record["group"] % module.INSTITUTES
        members = {node for pair in edges for node in pair}
        expected = {(a, b) for a in members for b in members if a != b and home[a] == home[b]}
        assert edges == expected
        known += len(members) / len(home) / COUNT
    assert known == pytest.approx(module.KNOWN_INSTITUTE, abs=0.06)  # 1,700 authors: 0.011 each


def test_joint_papers_are_counted():
    edges = module.coauthor_edges([(2, 0, 1), (0, 2), (1,), (2, 0)])
    assert edges.keys() == {(0, 1), (0, 2), (1, 2)}
    assert edges[0, 2][0] == 3 and edges[0, 2][1] == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    assert edges[0, 1] == (1, pytest.approx(1 / 3))


def test_people_and_papers():
    random = np.random.default_rng(0)
    for _ in range(10):
        people = module.draw_people(random)
        assert (people.group[people.contacts] != people.group[:, None]).all()
        assert [people.members(number)[0] for number in range(8)] == np.flatnonzero(people.head).tolist()
        papers = module.draw_papers(random, people)
        assert all(len(set(paper)) == len(paper) > 0 for paper in papers)
        assert {paper[0] for paper in papers} == set(range(len(people.group)))
        citations = module.draw_citations(random, people, papers)
        assert all(a != b for a, b in citations)
    head, member = people.members(3)[:2]
    assert module.relation(people, head, member) == module.relation(people, member, head) == 0
    assert module.relation(people, *people.members(3)[1:3]) == 1
    assert module.relation(people, head, people.members(4)[0]) == 2


def test_notes_on_the_classes(records):
    labels = np.concatenate([record["edge_label"] for record in records])
    shares = np.bincount(labels[labels >= 0]) / (labels >= 0).sum()
    # 13,000 pairs in 40 networks that differ in size.
    np.testing.assert_allclose(shares, [0.11, 0.20, 0.69], atol=0.025)


def test_what_is_read_is_what_is_computed(tmp_path):
    dataset = catalogue.load("coauthors/tiny", data_dir=tmp_path)
    assert dataset.class_names == module.CLASS_NAMES and dataset.edge_types == module.EDGE_TYPES
    assert dataset.node_channels == module.NODE_CHANNELS and dataset.edge_channels == module.EDGE_CHANNELS
    expected = {record["nodes"].tobytes(): record for record in map(simulated, range(3))}
    for number in range(3):
        record = dataset.splits["test"][number]
        for field, values in expected.pop(record["nodes"].tobytes()).items():
            np.testing.assert_array_equal(record[field], values, err_msg=field)
    blind = catalogue.load("coauthors/tiny", data_dir=tmp_path, labels=False)
    assert blind.class_names is None and "edge_label" not in blind.splits["test"][0]


def test_numbers_of_authors_say_nothing_of_their_group(records):
    """The numbers are permuted: neighbours in number are of one group as often as any two."""
    same = np.mean([(record["group"][1:] == record["group"][:-1]).mean() for record in records])
    assert same == pytest.approx(1 / 8, abs=0.04)
