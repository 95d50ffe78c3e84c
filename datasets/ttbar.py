"""Jets of pairs of top quarks: which come from a b quark, which from a W boson, and which from neither?

The 10,000 simulated events, in which both tops decay into three quarks each, that come with the program SPANet
(Fenton et al. 2022), which the user fetches as one file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import graphs, simulation
from zoo_datasets.loading.arrays import stratified_split
from zoo_datasets.loading.records import DataError, Record
from zoo_datasets.loading.sources import manual_file

COUNT, MOST = 10000, 10
FOLDER, FILE = "spanet_example", "full_hadronic_ttbar__example.h5"
PAGE = "https://github.com/Alexanders101/SPANet (data/full_hadronic_ttbar/example.h5)"
INPUTS = ("eta", "phi", "pt", "mass", "btag")
TOPS, QUARKS = ("t1", "t2"), ("q1", "q2", "b")
MISSING = -1
SPLIT_NAMES = ("train", "validation", "test")
SPLIT_SEED, FRACTIONS = 0, (0.1, 0.2)

CLASS_NAMES = ("other", "w_quark", "b_quark")
CHANNELS = {"eta": "1", "phi": "rad", "log_pt": "ln GeV", "log_mass": "ln(1 + GeV)", "btag": "0, 1"}
TITLE = "Simulated events of two top quarks as sets of jets: from b, from W, or neither"
UNITS = (
    "points: float32, n × 5, one row for each jet, those of the largest transverse momentum first, n = 6…10: "
    "pseudorapidity; azimuth, −π…π; ln of the transverse momentum, GeV; ln(1 + mass), GeV; 1 if it was tagged as from "
    "a b quark. "
    "label: int32, n: 0 neither, 1 from a quark of a W boson, 2 from a b quark of a top. "
    "assignment: int32, 2 × 3: rows of the jets of q1, q2 and b of each top, −1 where the quark has no jet; truth, "
    "never an input. "
    "source: number of the event in the file, from 0; not an input."
)
LICENCE = "BSD 3-Clause (SPANet, Alexander Shmakov 2021), fetched by the user."
CREDIT = "Events: SPANet (Fenton et al. 2022)"
SPLIT_SIZES = {
    "default": {"train": 7001, "validation": 999, "test": 2000},
    "tiny": {"train": 24, "validation": 12, "test": 12},
}
PROPERTIES = {"source": "1", "assignment": "1"}
FEATURES = {
    "points": "(n, 5) float32: η, φ, ln pT, ln(1 + mass), b tag",
    "label": "(n,) int32: 0 other, 1 w_quark, 2 b_quark",
    "assignment": "(2, 3) int32: jets of q1, q2, b of each top; −1 none; truth, not an input",
    "source": "number of the event in the file; not an input",
}
SPLIT_POLICY = (
    "70/10/20 % of the events, drawn with seed 0, with none, one or both tops complete in the same proportions. tiny: "
    "the first events of each split."
)
NOTES = (
    "q1 and q2 are interchangeable, and so are the tops. A top is complete where all its quarks have a jet: none is in "
    "22.6 % of the events, one in 54.3 %, both in 23.1 %. A jet without a quark may be radiation, or a quark whose "
    "partner is missing may have been taken for it: assignment is by angle. Of the events with both tops, choosing the "
    "assignment by the masses of W and top (χ²) has about half fully right: 53 % of 1,200. Azimuth is periodic."
)
CITATION = """\
@article{fenton2022permutationless,
  title   = {Permutationless many-jet event reconstruction with symmetry preserving attention networks},
  author  = {Fenton, Michael James and Shmakov, Alexander and Ho, Ta-Wei and Hsu, Shih-Chieh and Whiteson, Daniel and
             Baldi, Pierre},
  journal = {Physical Review D},
  volume  = {105},
  pages   = {112008},
  year    = {2022},
  doi     = {10.1103/PhysRevD.105.112008},
}"""


def read_file(path: Path, *, count: int = COUNT) -> list[Record]:
    """Records of all events of the file.

    Raises:
      DataError: the file cannot be read, lacks an array, or has one of another shape; numbers that are not finite,
        jets after a gap, or quarks of jets that are not there. The text names the array and the event.
    """
    arrays = _arrays(path)
    for name, values in arrays.items():
        expected = (count, MOST) if name.startswith("INPUTS") else (count,)
        if values.shape != expected:
            raise DataError(f"{path}: {name} should be {expected}, got {values.shape}. Get the file from {PAGE}.")
    present = arrays["INPUTS/Source/MASK"].astype(bool)
    jets = present.sum(1)
    _require(path, "jets should come before empty places", present != (np.arange(MOST) < jets[:, None]))
    values = np.stack([arrays[f"INPUTS/Source/{name}"] for name in INPUTS], axis=-1).astype(np.float64)
    _require(path, "numbers of jets should be finite", ~np.isfinite(values).all(-1) & present)
    _require(path, "pt should be above 0", (values[..., INPUTS.index("pt")] <= 0) & present)
    quarks = np.stack(
        [np.stack([arrays[f"TARGETS/{top}/{quark}"] for quark in QUARKS], axis=1) for top in TOPS], axis=1
    )
    _require(path, "quarks should be numbers of jets, or −1", (quarks < MISSING) | (quarks >= jets[:, None, None]))
    ranked = np.sort(quarks.reshape(count, -1), axis=1)
    _require(path, "a jet should be of one quark", (ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] != MISSING))
    return [_record(number, values[number, : jets[number]], quarks[number]) for number in range(count)]


def _record(number: int, values: np.ndarray, quarks: np.ndarray) -> Record:
    eta, phi, pt, mass, tagged = values.T
    label = np.zeros(len(values), np.int32)
    for kind, jets in ((1, quarks[:, :2]), (2, quarks[:, 2])):
        label[jets[jets != MISSING]] = kind
    # Masses of light jets are sometimes a rounding below 0.
    points = np.stack([eta, phi, np.log(pt), np.log1p(np.maximum(mass, 0)), tagged], axis=1)
    return {
        "points": points.astype(np.float32),
        "label": label,
        "assignment": quarks.astype(np.int32),
        "source": number,
    }


def _arrays(path: Path) -> dict[str, np.ndarray]:
    needed = [f"INPUTS/Source/{name}" for name in ("MASK", *INPUTS)]
    needed += [f"TARGETS/{top}/{quark}" for top in TOPS for quark in QUARKS]
    try:
        with h5py.File(path) as file:
            missing = [name for name in needed if name not in file]
            if missing:
                raise DataError(
                    f"{path} should have the array {missing[0]}, got the groups {', '.join(file) or 'none'}. Get the "
                    f"file from {PAGE}."
                )
            return {name: file[name][()] for name in needed}
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}): truncated, damaged or of another format.") from error


def _require(path: Path, what: str, wrong: np.ndarray) -> None:
    """Refuse a file where any of `wrong` (events, …) is true."""
    events = np.flatnonzero(wrong.reshape(len(wrong), -1).any(1))
    if len(events):
        raise DataError(
            f"{path}, event {events[0]}: {what} ({len(events)} events are not so). Get the file from {PAGE}."
        )


def split(records: list[Record]) -> dict[str, np.ndarray]:
    """Numbers of the events of each split, ascending."""
    complete = np.array([(record["assignment"] != MISSING).all(1).sum() for record in records])
    return dict(zip(SPLIT_NAMES, stratified_split(complete, seed=SPLIT_SEED, fractions=FRACTIONS), strict=True))


class Ttbar(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS builder of "ttbar": points (n, 5), label (n,), assignment (2, 3), source."""

    name = "ttbar"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(name=name) for name in SPLIT_SIZES
    ]
    # Tests put a smaller one here.
    count: ClassVar[int] = COUNT

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="\n".join((TITLE, UNITS, SPLIT_POLICY, NOTES)),
            features=tfds.features.FeaturesDict(
                {
                    "points": graphs.table(len(CHANNELS)),
                    "label": graphs.column(),
                    "assignment": simulation.tensor(len(TOPS), len(QUARKS), dtype=np.int32),
                    "source": tfds.features.Scalar(np.int32),
                }
            ),
            homepage="https://arxiv.org/abs/2106.03898",
            license=LICENCE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Any]]]:
        records = read_file(manual_file(FOLDER, FILE, page=PAGE), count=self.count)
        sizes = SPLIT_SIZES["tiny"] if self.builder_config.name == "tiny" else {}
        return {
            name: self._generate_examples(records, rows[: sizes.get(name)]) for name, rows in split(records).items()
        }

    def _generate_examples(self, records: list[Record], rows: np.ndarray) -> Iterator[tuple[int, Record]]:
        """Yield (number in the file, record)."""
        for row in rows.tolist():
            yield row, records[row]
