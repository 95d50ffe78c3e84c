"""A symbol to be remembered: what was shown at the start, long before the question? (G3, G4)

After the tasks with long time lags of Hochreiter & Schmidhuber (1997). In "default" one of four symbols is shown, then
the same symbols come in any order for a while, then a mark asks for the first one. In "words" a short text says what
colour somebody's ball has, talks of other people and colours, and asks. Nothing but the remembered step says the
answer: without it every guess is right in exactly one of four.
"""

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import simulation
from zoo_datasets.text import UNKNOWN, encode

SYMBOLS = ("a", "b", "c", "d")
CLASS_NAMES = SYMBOLS
# Of equal length, so that the length of a text does not tell.
COLOURS = ("blue", "gold", "grey", "pink")
# Steps between the symbol and the question: the shortest ones of each setting, and the longest.
SHORTEST, LONGEST = {"default": 1, "long": 10}, 100
STEPS = LONGEST + 2
CHARACTERS = 256

VOCABULARY = (UNKNOWN, *" '.?abcdefghijklmnopqrstuvwxyz")
PEOPLE = ("anna", "ben", "carla", "david", "emma", "felix", "greta", "henry")
FACT = "{} has a {} ball. "
QUESTION = "{}'s ball is ?"
SCENES = (
    "the {} bus is late. ",
    "a {} bird sings. ",
    "the door is {}. ",
    "a {} kite is in the tree. ",
)
PAUSES = ("it rains. ", "the shop is shut. ", "the sun is out again. ", "nobody says a word. ")
# How often each kind of sentence comes, and how many characters of them there are beside the fact that is asked for
# and the last sentence.
KINDS = {"fact": 0.65, "scene": 0.25, "pause": 0.1}
FILLING = (90.0, 160.0)

CHANNELS = {**{f"symbol {name}": "1" for name in SYMBOLS}, "question": "1"}
TITLE = "A symbol, or a word of a text, that must be remembered over a lag until it is asked for"
UNITS = (
    "sequence: float32, 102 × 5, one step after the other: 1 in the channel of the symbol a, b, c or d that is shown, "
    "or in the last channel where the question mark is; 0 after it. In words: int32, 256, characters as numbers of the "
    "vocabulary, 0 after the question mark. "
    "length: int32, number of steps up to and with the question: lag + 2, or the characters of the text. "
    "label: the first symbol; in words the colour of the ball of the person asked for: blue, gold, grey or pink. "
    "lag: in default the steps between the first one and the question, 1…100, in long 10…100; in words the characters "
    "from the end of the colour's name to the end of the text: a property, not an input."
)
LICENCE = simulation.LICENCE
CREDIT = ""
_SIZES = {"train": 4000, "validation": 1000, "test": 2000}
SPLIT_SIZES = {
    "default": _SIZES,
    "tiny": {"train": 24, "validation": 12, "test": 12},
    "full": {"train": 40000, "validation": 4000, "test": 8000},
    "long": _SIZES,
    "words": {"train": 20000, "validation": 1000, "test": 2000},
}
PROPERTIES = {"lag": "steps, or characters"}
FEATURES = {
    "sequence": "(102, 5) float32: symbols, one of 5 channels is 1; words: (256,) int32, characters",
    "length": "int32: lag + 2; words: number of characters",
    "label": "0…3: the first symbol; words: the colour asked for",
    "lag": "float32, steps, or characters; a property, not an input",
}
SPLIT_POLICY = "Every record is drawn on its own; classes alternate, so that every split has equally many of each."
NOTES = (
    "Chance is 1/4. What comes after the first step is drawn without regard to it, so that the last symbol, the length "
    "and every window that leaves the first step out are right in exactly 1/4. Counting the symbols of the whole "
    "sequence, without regard to order, is right in (lag + 4) / (4 (lag + 1)): 5/8 at lag 1, 0.32 at 10, 0.26 at 100. "
    "Short lags teach the long ones: trained on default, a plain recurrent network learns all of them, too. In long no "
    "lag is below 10, and where gradients vanish there is nothing to begin with. "
    "words: 150 to 250 characters, lags of 44 to 215. The first and the last colour named are right in exactly 1/4; to "
    "guess by the place in the text (the second ball from the beginning or from the end) is right in 0.44, the "
    "commonest colour in 0.35. Whose ball it is must be read, and all facts be remembered until the question."
)
CITATION = """\
@article{hochreiter1997long,
  title   = {Long Short-Term Memory},
  author  = {Hochreiter, Sepp and Schmidhuber, J{\\"u}rgen},
  journal = {Neural Computation},
  volume  = {9},
  number  = {8},
  pages   = {1735--1780},
  year    = {1997},
  doi     = {10.1162/neco.1997.9.8.1735},
}"""


def draw_lag(random: np.random.Generator, shortest: int) -> int:
    """A lag of `shortest` … LONGEST, its logarithm even: from 1 on, about as many below 10 as above."""
    return int(math.exp(random.uniform(math.log(shortest), math.log(LONGEST + 1))))


def draw_distractors(random: np.random.Generator, count: int) -> np.ndarray:
    """`count` numbers of the four classes, of which every record has another mixture, even over all mixtures.

    Then every set of counts is as likely as any other, and how often a class came says nothing about the one to be
    remembered, but for whether it came at all.
    """
    return random.choice(len(SYMBOLS), count, p=random.dirichlet(np.ones(len(SYMBOLS))))


def symbols(random: np.random.Generator, label: int, shortest: int) -> simulation.Record:
    """One record of symbols; what comes after the first step does not depend on the label."""
    lag = draw_lag(random, shortest)
    shown = np.concatenate([[label], draw_distractors(random, lag), [len(SYMBOLS)]])
    sequence = np.zeros((STEPS, len(CHANNELS)), np.float32)
    sequence[np.arange(len(shown)), shown] = 1
    return {"sequence": sequence, "length": np.int32(len(shown)), "label": label, "lag": np.float32(lag)}


def story(random: np.random.Generator, colour: str) -> tuple[str, int]:
    """A text that ends with a question, and the characters from the end of the answer's name to the end of the text.

    Everybody has one ball. The fact that is asked for stands anywhere between the first sentence and the last, which
    both name a colour that has nothing to do with it, as do most others.
    """
    people = [str(name) for name in random.permutation(PEOPLE)]
    asked, last, *people = people
    wanted = random.uniform(*FILLING)
    colours = iter([COLOURS[number] for number in draw_distractors(random, int(FILLING[1]))])
    sentences = [_sentence(random, "fact", people, colours)]
    while sum(map(len, sentences)) < wanted:
        kinds = [kind for kind in KINDS if people or kind != "fact"]
        weights = np.array([KINDS[kind] for kind in kinds])
        sentences.append(_sentence(random, str(random.choice(kinds, p=weights / weights.sum())), people, colours))
    place = random.integers(1, len(sentences) + 1)
    before, fact = "".join(sentences[:place]), FACT.format(asked, colour)
    after = "".join([*sentences[place:], FACT.format(last, next(colours)), QUESTION.format(asked)])
    return before + fact + after, len(fact) - fact.index(colour) - len(colour) + len(after)


def _sentence(random: np.random.Generator, kind: str, people: list[str], colours: Iterator[str]) -> str:
    """A sentence of a kind; a fact takes its person out of `people`, and whoever names a colour takes the next one."""
    if kind == "fact":
        return FACT.format(people.pop(), next(colours))
    if kind == "scene":
        return str(random.choice(SCENES)).format(next(colours))
    return str(random.choice(PAUSES))


def words(random: np.random.Generator, label: int) -> simulation.Record:
    """One record of text; all but the four letters of the answer does not depend on the label."""
    text, lag = story(random, COLOURS[label])
    sequence = np.zeros(CHARACTERS, np.int32)
    sequence[: len(text)] = encode(text, VOCABULARY)
    return {"sequence": sequence, "length": np.int32(len(text)), "label": label, "lag": np.float32(lag)}


class LongMemory(simulation.SimulatedBuilder):
    """TFDS builder of "long_memory": sequence (102, 5) of symbols or (256,) of characters, label 0…3, lag."""

    name = "long_memory"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        text = simulation.setting_of(self.builder_config.name) == "words"
        return {
            "sequence": simulation.tensor(CHARACTERS, dtype=np.int32)
            if text
            else simulation.tensor(STEPS, len(CHANNELS)),
            "length": tfds.features.Scalar(np.int32),
            "label": tfds.features.ClassLabel(names=COLOURS if text else SYMBOLS),
            "lag": simulation.scalar(),
        }

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `symbols` and `words` of this module."""
        label = number % len(SYMBOLS)
        return words(random, label) if setting == "words" else symbols(random, label, SHORTEST[setting])
