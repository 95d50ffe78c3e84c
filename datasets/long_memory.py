"""A symbol to be remembered: what was shown at the start, long before the question? (G3, G4)

After the tasks with long time lags of Hochreiter & Schmidhuber (1997). In "default" one of four symbols is shown, then
the same symbols come in any order for a while, then a mark asks for the first one. In "words" a short text names four
things, each in a colour of its own, and asks for that of the ball. Nothing but the remembered step says the answer:
without it every guess is right in exactly one of four.
"""

import math
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
CHARACTERS = 128

VOCABULARY = (UNKNOWN, *" .?abcdefghijklmnopqrstuvwxyz")
FACT = "a {} {}. "
# What is asked for, and what else there may be.
ASKED = "ball"
THINGS = ("coat", "drum", "hat", "kite", "lamp", "pen")
QUESTION = f"the {ASKED} is ?"
PAUSES = ("it rains. ", "it is late. ", "the sun is out. ")
MOST_PAUSES = 3

CHANNELS = {**{f"symbol {name}": "1" for name in SYMBOLS}, "question": "1"}
TITLE = "A symbol, or a word of a text, that must be remembered over a lag until it is asked for"
UNITS = (
    "sequence: float32, 102 × 5, one step after the other: 1 in the channel of the symbol a, b, c or d that is shown, "
    "or in the last channel where the question mark is; 0 after it. In words: int32, 128, characters as numbers of the "
    "vocabulary, 0 after the question mark. "
    "length: int32, number of steps up to and with the question: lag + 2, or the characters of the text. "
    "label: the first symbol; in words the colour of the ball: blue, gold, grey or pink. "
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
    "sequence": "(102, 5) float32: symbols, one of 5 channels is 1; words: (128,) int32, characters",
    "length": "int32: lag + 2; words: number of characters",
    "label": "0…3: the first symbol; words: the colour of the ball",
    "lag": "float32, steps, or characters; a property, not an input",
}
SPLIT_POLICY = "Every record is drawn on its own; classes alternate, so that every split has equally many of each."
NOTES = (
    "Chance is 1/4. What comes after the first step is drawn without regard to it, so that the last symbol, the length "
    "and every window that leaves the first step out are right in exactly 1/4. Counting the symbols of the whole "
    "sequence, without regard to order, is right in (lag + 4) / (4 (lag + 1)): 5/8 at lag 1, 0.32 at 10, 0.26 at 100. "
    "Short lags teach the long ones: trained on default, a plain recurrent network learns all of them, too. In long no "
    "lag is below 10, and where gradients vanish there is nothing to begin with. "
    "words: 63 to 113 characters, lags of 20 to 107. Every text names all four colours once, in any order: the first, "
    "the last, that at any other place and the count of each are right in exactly 1/4, and the last 16 characters name "
    "none. Which thing each colour belongs to must be read, and the ball's remembered until the question."
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


def story(random: np.random.Generator, label: int) -> tuple[str, int]:
    """A text that ends with a question, and the characters from the end of the answer's name to the end of the text.

    The four colours are dealt out to the ball and three other things; pauses come between. Another label turns the
    colours round, from each to the next, and changes nothing else.
    """
    count = len(COLOURS)
    things = [ASKED, *(str(thing) for thing in random.choice(THINGS, count - 1, replace=False))]
    colours = [COLOURS[(label + turn) % count] for turn in (0, *(1 + random.permutation(count - 1)))]
    facts = [FACT.format(colour, thing) for colour, thing in zip(colours, things, strict=True)]
    pauses = [str(pause) for pause in random.choice(PAUSES, random.integers(MOST_PAUSES + 1))]
    sentences = [*facts, *pauses]
    text = "".join([*(sentences[place] for place in random.permutation(len(sentences))), QUESTION])
    return text, len(text) - text.index(facts[0]) - facts[0].index(f" {ASKED}")


def words(random: np.random.Generator, label: int) -> simulation.Record:
    """One record of text."""
    text, lag = story(random, label)
    sequence = np.zeros(CHARACTERS, np.int32)
    sequence[: len(text)] = encode(text, VOCABULARY)
    return {"sequence": sequence, "length": np.int32(len(text)), "label": label, "lag": np.float32(lag)}


class LongMemory(simulation.SimulatedBuilder):
    """TFDS builder of "long_memory": sequence (102, 5) of symbols or (128,) of characters, label 0…3, lag."""

    name = "long_memory"
    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.1.0": "words: short texts that name every colour once."}

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
