"""The reader of events with top quarks, on small files made for it, and on the real one where it is at hand."""

import h5py
import numpy as np
import pytest

from zoo_datasets import ttbar as module
from zoo_datasets.loading import catalogue
from zoo_datasets.loading.records import DataError
from zoo_datasets.loading.sources import SourceError

COUNT = 40


def arrays():
    """A file's arrays: 40 events of 6 to 8 jets; by turns no, one and two tops are complete."""
    random = np.random.default_rng(0)
    jets = 6 + np.arange(COUNT) % 3
    mask = np.arange(10) < jets[:, None]
    found = {"INPUTS/Source/MASK": mask}
    for name, values in {
        "eta": random.normal(size=(COUNT, 10)),
        "phi": random.uniform(-3, 3, (COUNT, 10)),
        "pt": np.sort(random.uniform(20, 300, (COUNT, 10)))[:, ::-1],
        "mass": random.uniform(-1e-5, 30, (COUNT, 10)),
        "btag": random.integers(0, 2, (COUNT, 10)),
    }.items():
        found[f"INPUTS/Source/{name}"] = np.where(mask, values, 0).astype(np.float32)
    quarks = np.stack([random.permutation(6) for _ in range(COUNT)]).reshape(COUNT, 2, 3)
    quarks[np.arange(COUNT) % 3 == 0, 0, 1] = -1
    quarks[np.arange(COUNT) % 3 <= 1, 1, 2] = -1
    for top, name in enumerate(module.TOPS):
        for place, quark in enumerate(module.QUARKS):
            found[f"TARGETS/{name}/{quark}"] = quarks[:, top, place]
    return found


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Function (arrays by name) that writes the file into the manual folder; its path."""
    monkeypatch.setenv("ZOO_MANUAL_DIR", str(tmp_path))
    monkeypatch.setattr(module.Ttbar, "count", COUNT)
    (tmp_path / module.FOLDER).mkdir()

    def write(content):
        path = tmp_path / module.FOLDER / module.FILE
        with h5py.File(path, "w") as file:
            for name, values in content.items():
                file[name] = values
        return path

    return write


def test_records_are_those_of_the_file(tmp_path, write):
    content = arrays()
    write(content)
    dataset = catalogue.load("ttbar", data_dir=tmp_path / "data")
    assert dataset.class_names == module.CLASS_NAMES and dataset.channels == module.CHANNELS
    sources, complete = [], {}
    for split, source in dataset.splits.items():
        for number in range(len(source)):
            record = source[number]
            assert record.keys() == module.FEATURES.keys()
            event, points = record["source"], record["points"]
            inputs = {name: content[f"INPUTS/Source/{name}"][event, : len(points)] for name in module.INPUTS}
            assert len(points) == 6 + event % 3
            np.testing.assert_array_equal(points[:, 0], inputs["eta"])
            np.testing.assert_allclose(np.exp(points[:, 2]), inputs["pt"], rtol=1e-5)
            np.testing.assert_allclose(np.expm1(points[:, 3]), np.maximum(inputs["mass"], 0), rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(points[:, 4], inputs["btag"])
            for top, name in enumerate(module.TOPS):
                for place, quark in enumerate(module.QUARKS):
                    jet = content[f"TARGETS/{name}/{quark}"][event]
                    assert record["assignment"][top, place] == jet
                    assert jet == -1 or record["label"][jet] == (2 if quark == "b" else 1)
            assert (record["label"] > 0).sum() == (record["assignment"] >= 0).sum()
            sources.append(event)
        complete[split] = len(source)
    assert sorted(sources) == list(range(COUNT))
    # Of 14, 13 and 13 events a tenth each, 1, and a fifth, 3.
    assert complete == {"train": 28, "validation": 3, "test": 9}
    blind = catalogue.load("ttbar", data_dir=tmp_path / "data", labels=False)
    assert blind.splits["test"][0].keys() == {"points", "source"}


def changed(name, place, value):
    content = arrays()
    content[name][place] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("INPUTS/Source/MASK", (3, 1), False), r"event 3: jets should come before empty places \(1 events"),
        (changed("INPUTS/Source/eta", (5, 0), np.nan), r"event 5: numbers of jets should be finite"),
        (changed("INPUTS/Source/pt", (5, 0), 0), r"event 5: pt should be above 0"),
        (changed("TARGETS/t1/b", 0, 7), r"event 0: quarks should be numbers of jets, or −1"),
        (changed("TARGETS/t1/b", 4, -2), r"event 4: quarks should be numbers of jets, or −1"),
        ({**arrays(), "TARGETS/t2/q1": arrays()["TARGETS/t1/q1"]}, r"event 0: a jet should be of one quark"),
        (
            {**arrays(), "INPUTS/Source/pt": np.ones((COUNT, 9))},
            r"INPUTS/Source/pt should be \(40, 10\), got \(40, 9\)",
        ),
        ({"x": np.zeros(3)}, r"should have the array INPUTS/Source/MASK, got the groups x"),
    ],
)
def test_another_file_is_refused(write, content, message):
    path = write(content)
    with pytest.raises(DataError, match=message) as error:
        module.read_file(path, count=COUNT)
    assert str(path) in str(error.value) and "github.com/Alexanders101" in str(error.value)


def test_damaged_file_is_refused(write):
    path = write(arrays())
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=f"{module.FILE} cannot be read"):
        module.read_file(path, count=COUNT)


def test_missing_file_says_what_it_is_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_MANUAL_DIR", str(tmp_path))
    with pytest.raises(SourceError, match=r"full_hadronic_ttbar__example\.h5 is missing.*SPANet.*put it there"):
        catalogue.load("ttbar", data_dir=tmp_path)


@pytest.mark.manual_data
def test_the_real_file_is_as_described(manual):
    path = manual(f"{module.FOLDER}/{module.FILE}")
    records = module.read_file(path)
    assert np.bincount([len(record["points"]) for record in records])[6:].tolist() == [3137, 3427, 2124, 965, 347]
    complete = np.array([(record["assignment"] >= 0).all(1) for record in records])
    assert complete.all(1).sum() == 2313 and complete[:, 0].mean() == pytest.approx(0.501, abs=1e-3)
    assert np.bincount(complete.sum(1)).tolist() == [2262, 5425, 2313]
    assert {split: len(rows) for split, rows in module.split(records).items()} == module.SPLIT_SIZES["default"]
    points = np.concatenate([record["points"] for record in records])
    labels = np.concatenate([record["label"] for record in records])
    assert np.abs(points[:, 1]).max() <= np.pi and set(points[:, 4]) == {0, 1}
    assert points[labels == 2, 4].mean() > 3 * points[labels != 2, 4].mean()
    # The mass of the two jets of a W boson, 80 GeV, in the core.
    masses = []
    for record in records[:2000]:
        for q1, q2, _ in record["assignment"]:
            if min(q1, q2) >= 0:
                (eta, phi, log_pt), (eta2, phi2, log_pt2) = record["points"][[q1, q2], :3]
                masses.append(np.sqrt(2 * np.exp(log_pt + log_pt2) * (np.cosh(eta - eta2) - np.cos(phi - phi2))))
    assert np.median(masses) == pytest.approx(78, abs=4)
