"""A symbol or a word to be remembered: that the answer is there, and that nothing else gives it away."""

import math
import re

import numpy as np
import pytest

from zoo_datasets import long_memory as module
from zoo_datasets import simulation, text
from zoo_datasets.loading import catalogue
from zoo_datasets.loading.pipeline import in_memory

COUNT = 4000


def many(setting, count, split="test"):
    simulate = lambda n, random: module.LongMemory.simulate(None, random, n, setting)
    records = [simulate(n, simulation.generator("long_memory", setting, split, n)) for n in range(count)]
    return {field: np.stack([record[field] for record in records]) for field in records[0]}


@pytest.fixture(scope="module")
def records():
    return many("default", COUNT)


@pytest.fixture(scope="module")
def stories():
    """Decoded texts and labels of 4,000 records; 1 s."""
    records = many("words", COUNT)
    texts = [
        text.decode(tokens[:length], module.VOCABULARY)
        for tokens, length in zip(records["sequence"], records["length"], strict=True)
    ]
    return records, texts


def near(hits, expected):
    """Whether the share of hits is as expected, within five standard deviations of the binomial."""
    return abs(np.mean(hits) - expected) < 5 * math.sqrt(expected * (1 - expected) / len(hits))


def test_sequence_is_symbols_and_a_question(records):
    sequence, length = records["sequence"], records["length"]
    steps = np.arange(module.STEPS)
    np.testing.assert_array_equal(sequence.sum(2), steps < length[:, None])
    np.testing.assert_array_equal(sequence[..., 4], steps == length[:, None] - 1)
    np.testing.assert_array_equal(records["lag"], length - 2)
    assert set(np.unique(sequence)) == {0, 1}


def test_label_is_the_first_symbol(records):
    np.testing.assert_array_equal(records["sequence"][:, 0, :4].argmax(1), records["label"])
    assert set(np.bincount(records["label"])) == {COUNT // 4}


@pytest.mark.parametrize(("setting", "shortest"), [("default", 1), ("long", 10)])
def test_lags_are_even_in_their_logarithm(setting, shortest):
    lags = many(setting, 2000)["lag"]
    assert lags.min() == shortest and 95 < lags.max() <= module.LONGEST
    for limit in (20, 50):
        share = math.log(limit / shortest) / math.log((module.LONGEST + 1) / shortest)
        assert near(lags < limit, share)


def test_nothing_after_the_first_step_depends_on_the_label():
    """The same draws with each of the four labels: all the rest is the same, bit for bit."""
    for seed in range(20):
        four = [module.symbols(np.random.default_rng(seed), label, 1) for label in range(4)]
        for record in four[1:]:
            np.testing.assert_array_equal(record["sequence"][1:], four[0]["sequence"][1:])
            assert (record["length"], record["lag"]) == (four[0]["length"], four[0]["lag"])


def test_last_symbol_and_its_neighbours_are_no_shortcut(records):
    for back in (2, 3, 4):
        with_lag = records["lag"] >= back - 1
        shown = records["sequence"][np.arange(COUNT), records["length"] - back].argmax(1)
        assert near((shown == records["label"])[with_lag], 0.25), back
    rest = records["sequence"][:, 1:, :4].sum(1)
    assert near(rest.argmax(1) == records["label"], 0.25)
    assert near(records["length"] % 4 == records["label"], 0.25)


def by_counting(lag):
    """Best guess without regard to order: of all mixtures alike, each symbol that came is as likely the first one."""
    share = lambda others: math.comb(3, others) * math.comb(lag, others) / math.comb(lag + 3, 3)
    return sum(share(others) / (others + 1) for others in range(4))


@pytest.mark.parametrize(("lag", "expected"), [(1, 0.625), (10, 0.318), (100, 0.257)])
def test_notes_on_counting(lag, expected):
    """The sum over how many other symbols came is the formula; the draws follow it."""
    assert by_counting(lag) == pytest.approx((lag + 4) / (4 * (lag + 1)))
    assert by_counting(lag) == pytest.approx(expected, abs=5e-4)
    random = np.random.default_rng(lag)
    counts = np.stack([np.bincount(module.draw_distractors(random, lag), minlength=4) for _ in range(COUNT)])
    labels = np.arange(COUNT) % 4
    counts[np.arange(COUNT), labels] += 1
    assert near((counts + 1e-3 * random.random(counts.shape)).argmax(1) == labels, by_counting(lag))
    assert np.mean(1 / (counts > 0).sum(1)) == pytest.approx(by_counting(lag), abs=0.015)


def named(story):
    """Thing → colour, in the order of the text."""
    return {thing: colour for colour, thing in re.findall(rf"a ({'|'.join(module.COLOURS)}) (\w+)\.", story)}


def test_label_is_what_a_reader_answers(stories):
    records, texts = stories
    assert all(story.endswith("the ball is ?") for story in texts)
    assert [module.COLOURS.index(named(story)["ball"]) for story in texts] == records["label"].tolist()
    assert set(np.bincount(records["label"])) == {COUNT // 4}


def test_lag_is_counted_from_the_answer(stories):
    records, texts = stories
    for story, lag in zip(texts, records["lag"], strict=True):
        assert re.search(r"a \w+(?= ball)", story).end() == len(story) - lag


def test_every_colour_is_named_once_and_no_thing_twice(stories):
    for story in stories[1]:
        found = named(story)
        assert len(found) == 4 and set(found) <= {module.ASKED, *module.THINGS}
        assert sorted(re.findall("|".join(module.COLOURS), story)) == sorted(module.COLOURS)


def test_texts_are_characters_of_the_vocabulary_that_fit(stories):
    records, texts = stories
    steps = np.arange(module.CHARACTERS)
    np.testing.assert_array_equal(records["sequence"] > 0, steps < records["length"][:, None])
    assert records["sequence"].dtype == np.int32
    sizes = sorted(len(module.FACT.format("blue", thing)) for thing in module.THINGS)
    fixed = len(module.FACT.format("blue", module.ASKED)) + len(module.QUESTION)
    longest = fixed + sum(sizes[-3:]) + module.MOST_PAUSES * max(map(len, module.PAUSES))
    assert longest == 113 <= module.CHARACTERS
    assert fixed + sum(sizes[:3]) <= min(map(len, texts)) <= 65 and 108 <= max(map(len, texts)) <= longest
    # The end of the fact and the question alone, and all but the start of the first sentence.
    assert records["lag"].min() == len(" ball. the ball is ?") == 20
    assert 100 <= records["lag"].max() <= longest - len("a blue")


def test_another_label_turns_the_colours_round_and_changes_nothing_else():
    turned = {colour: module.COLOURS[(n + 1) % 4] for n, colour in enumerate(module.COLOURS)}
    turn = lambda story: re.sub("|".join(module.COLOURS), lambda found: turned[found[0]], story)
    for seed in range(20):
        stories = [module.story(np.random.default_rng(seed), label) for label in range(4)]
        assert len({lag for _, lag in stories}) == 1
        for label, (story, _) in enumerate(stories):
            assert stories[(label + 1) % 4][0] == turn(story)


def test_the_place_of_a_colour_and_the_last_characters_are_no_shortcut(stories):
    records, texts = stories
    colours = [re.findall("|".join(module.COLOURS), story) for story in texts]
    labels = [module.COLOURS[label] for label in records["label"]]
    for place in range(4):
        assert near([found[place] == label for found, label in zip(colours, labels, strict=True)], 0.25)
    assert not any(colour in story[-16:] for story in texts for colour in module.COLOURS)
    # What those 16 say, by the label that is commonest among the other half of the records with the same.
    tails = [story[-16:] for story in texts]
    half = COUNT // 2
    counts = {tail: np.zeros(4) for tail in tails}
    for tail, label in zip(tails[:half], records["label"], strict=False):
        counts[tail][label] += 1
    guesses = [counts[tail].argmax() for tail in tails[half:]]
    assert near(np.array(guesses) == records["label"][half:], 0.25)


@pytest.mark.parametrize("config", ["default", "tiny", "long", "words"])
def test_what_is_read_is_what_is_computed(tmp_path, monkeypatch, config):
    monkeypatch.setitem(module.SPLIT_SIZES, config, {"train": 8, "validation": 4, "test": 4})
    dataset = catalogue.load(f"long_memory/{config}", data_dir=tmp_path)
    assert dataset.class_names == (module.COLOURS if config == "words" else module.CLASS_NAMES)
    setting = simulation.setting_of(config)
    for split, source in dataset.splits.items():
        arrays = in_memory(source).arrays
        expected = many(setting, len(source), split)
        assert arrays.keys() == expected.keys() == module.FEATURES.keys()
        whole = expected["sequence"].reshape(len(source), -1)
        order = [np.flatnonzero((whole == row.ravel()).all(1))[0] for row in arrays["sequence"]]
        assert sorted(order) == list(range(len(source)))
        for field, values in arrays.items():
            np.testing.assert_array_equal(values, expected[field][order], err_msg=field)


def test_settings_sizes_and_words_fit_together():
    for sizes in module.SPLIT_SIZES.values():
        assert all(size % len(module.SYMBOLS) == 0 for size in sizes.values())
    assert {simulation.setting_of(config) for config in module.SPLIT_SIZES} == {*module.SHORTEST, "words"}
    assert len(module.CHANNELS) == len(module.SYMBOLS) + 1 and len(module.COLOURS) == len(module.SYMBOLS)
    assert len({len(colour) for colour in module.COLOURS}) == 1
    parts = (*module.COLOURS, *module.THINGS, module.FACT, module.QUESTION, *module.PAUSES)
    assert set("".join(parts)) - set("{}") <= set(module.VOCABULARY)
    for field, told in module.FEATURES.items():
        assert ("not an input" in told) == (field in module.PROPERTIES)
