"""The reader of the supernova challenge, on small files made for it, and on the real file where it is at hand."""

import numpy as np
import pytest

from zoo_datasets import spcc as module
from zoo_datasets import supernovae
from zoo_datasets.loading.pipeline import in_memory
from zoo_datasets.loading.records import DataError
from zoo_datasets.loading.sources import SourceError
from zoo_datasets.loading.tfds_source import TfdsSource

COUNT = 40


@pytest.fixture
def made():
    """Columns of 40 objects, every other of type Ia, of which the last is too faint to trigger."""
    random = np.random.default_rng(3)
    number = random.integers(12, 60, COUNT)
    size = int(number.sum())
    mjd = np.concatenate([np.sort(random.uniform(180, 340, count)) for count in number])
    brightness = np.repeat(np.append(random.uniform(40, 400, COUNT - 1), 0.1), number)
    days = {"host_photoz": (0.1, 1.1), "host_photoz_err": (0.01, 0.1), "z_true": (0.1, 1.1)}
    return {
        "snid": np.arange(100, 100 + COUNT, dtype=np.int32),
        "n_obs": number.astype(np.int16),
        **{name: random.uniform(*bounds, COUNT).astype(np.float32) for name, bounds in days.items()},
        "peak_mjd_true": random.uniform(56200, 56300, COUNT).astype(np.float32),
        "type_true": np.array(["Ia", "IIP"] * (COUNT // 4) + ["Ia", "Ibc"] * (COUNT // 4)),
        "sntype_spec": np.full(COUNT, -9, np.int16),
        "z_spec": np.full(COUNT, -9, np.float32),
        "mjd": mjd.astype(np.float32),
        "band": random.integers(0, 4, size).astype(np.uint8),
        "flux": (brightness * random.uniform(0, 1, size)).astype(np.float32),
        "fluxerr": random.uniform(1, 4, size).astype(np.float32),
    }


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Function (columns) that writes the file into the manual folder; its path."""
    monkeypatch.setenv("ZOO_MANUAL_DIR", str(tmp_path))
    monkeypatch.setattr(module.Spcc, "count", COUNT)
    (tmp_path / module.FOLDER).mkdir()

    def write(columns):
        path = tmp_path / module.FOLDER / module.FILE
        np.savez(path, **columns)
        return path

    return write


def prepare(folder, config="half"):
    """Arrays of each split."""
    builder = module.Spcc(config=config, data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return {
        name: in_memory(TfdsSource(builder.data_path, name, tuple(builder.info.features))).arrays
        for name in builder.info.splits
    }


def test_records_are_those_of_the_file(tmp_path, made, write):
    write(made)
    splits = prepare(tmp_path / "data")
    assert {name: len(fields["label"]) for name, fields in splits.items()} == {"train": 16, "validation": 4, "test": 20}
    starts = np.concatenate([[0], np.cumsum(made["n_obs"].astype(int))])
    for fields in splits.values():
        assert fields.keys() == module.FEATURES.keys()
        assert (fields["label"] == 1).mean() == 0.5
        for place, snid in enumerate(fields["snid"]):
            row = snid - 100
            part = slice(starts[row], starts[row + 1])
            assert module.CLASS_NAMES[fields["label"][place]] == ("Ia" if row % 2 == 0 else "non_Ia")
            assert module.SUBTYPES[int(fields["subtype"][place])] == made["type_true"][row]
            for field, column in {
                "host_photoz": "host_photoz",
                "host_photoz_err": "host_photoz_err",
                "true_redshift": "z_true",
            }.items():
                assert fields[field][place] == made[column][row]
            bands = np.array(["g", "r", "i", "z"])[made["band"][part]]
            steps, times = supernovae.nights(made["mjd"][part], bands, made["flux"][part], made["fluxerr"][part])
            night = supernovae.trigger(steps)
            if night is None:
                night = int(supernovae.signal_to_noise(steps).max(1).argmax())
                assert row == COUNT - 1
            for field, value in supernovae.light_curve(steps, times, night).items():
                np.testing.assert_array_equal(fields[field][place], value)
            # Days since the trigger: of float32 dates, which are known to 0.004 days.
            expected = made["peak_mjd_true"][row] - 56000 - times[night]
            assert fields["peak"][place] == pytest.approx(expected, abs=1e-3)
            assert fields["peak_flux"][place] == pytest.approx(supernovae.peak_flux(steps))
    assert sorted(np.concatenate([fields["snid"] for fields in splits.values()])) == made["snid"].tolist()


def test_bright_half_is_for_training_and_tiny_is_the_beginning_of_half(tmp_path, made, write, monkeypatch):
    write(made)
    bright = prepare(tmp_path / "data", "bright")
    assert {name: len(fields["label"]) for name, fields in bright.items()} == {"train": 16, "validation": 4, "test": 20}
    least = min(bright[name]["peak_flux"].min() for name in ("train", "validation"))
    assert least >= bright["test"]["peak_flux"].max()
    monkeypatch.setitem(module.SPLIT_SIZES, "tiny", {"train": 5, "validation": 3, "test": 4})
    half, tiny = prepare(tmp_path / "data"), prepare(tmp_path / "data", "tiny")
    for name, size in module.SPLIT_SIZES["tiny"].items():
        assert sorted(tiny[name]["snid"]) == sorted(half[name]["snid"])[:size]


def test_splits_have_every_object_once_and_the_types_alike():
    random = np.random.default_rng(0)
    is_ia, flux = random.random(400) < 0.3, random.uniform(0, 50, 400)
    for peak_flux in (None, flux):
        parts = module.split(is_ia, peak_flux)
        assert sorted(np.concatenate(list(parts.values()))) == list(range(400))
        assert len(parts["test"]) == 200
        assert is_ia[parts["train"]].mean() == pytest.approx(is_ia[parts["validation"]].mean(), abs=0.02)  # of 40
    assert flux[parts["test"]].max() < min(flux[parts["train"]].min(), flux[parts["validation"]].min())


def test_truth_and_follow_up_are_no_inputs():
    inputs = {field for field, text in module.FEATURES.items() if "not an input" not in text}
    assert inputs == {"sequence", "times", "length", "label", "host_photoz", "host_photoz_err"}
    assert not {"z_spec", "sntype_spec", "z_true", "redshift"} & module.FEATURES.keys()


def without(columns, name):
    return {key: values for key, values in columns.items() if key != name}


def changed(columns, name, place, value):
    array = columns[name].copy()
    array[place] = value
    return {**columns, name: array}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: without(c, "fluxerr"), r"should have the arrays snid.*fluxerr is missing\. Make the file from"),
        (lambda c: {**c, "flux": c["flux"][:-1]}, r"flux should be floating-point numbers \(\d+,\), got float32"),
        (lambda c: {**c, "snid": c["snid"][1:]}, r"snid should be whole numbers \(40,\), got int32 \(39,\)"),
        (lambda c: {**c, "band": c["band"].astype(float)}, "band should be whole numbers .* got float64"),
        (lambda c: {**c, "type_true": np.zeros(COUNT)}, r"type_true should be text \(40,\), got float64"),
        (lambda c: changed(c, "n_obs", 7, 0), r"an observation or more, got n_obs 0 of object 7 \(snid 107\)\. Leave"),
        (lambda c: changed(c, "band", 3, 5), r"band should be one of 0, 1, 2, 3, got 5 in 1 of \d+"),
        (lambda c: changed(c, "type_true", 2, "Iax"[:3]), "type_true should be one of II, .*, got 'Iax' in 1 of 40"),
        (lambda c: changed(c, "host_photoz", 4, np.nan), r"host_photoz should be finite .* got nan of object 4 \(snid"),
        (lambda c: changed(c, "z_true", 4, -9), "z_true should be finite and above 0, got -9.0 of object 4"),
        (lambda c: changed(c, "flux", 0, np.nan), r"object 0 \(snid 100\): fluxes should be finite, got nan in observ"),
        (lambda c: changed(c, "fluxerr", -1, 0), r"object 39 \(snid 139\): errors should be above 0, got 0"),
        (lambda c: changed(c, "mjd", 1, 0.0), r"object 0 \(snid 100\): times should ascend, got 0 in observation 1"),
    ],
)
def test_another_file_is_refused(tmp_path, made, write, change, message):
    write(change(made))
    with pytest.raises(DataError, match=message) as error:
        prepare(tmp_path / "data")
    assert module.FILE in str(error.value)


def test_damaged_file_is_refused(made, write):
    path = write(made)
    np.savez(path, **{key: made[key] for key in ("snid", "n_obs")})
    with pytest.raises(DataError, match=r"got snid, n_obs: host_photoz is missing"):
        module.read_file(path, count=COUNT)
    np.savez(path, **{**made, "type_true": made["type_true"].astype(object)})
    with pytest.raises(DataError, match="cannot be read"):
        module.read_file(path, count=COUNT)
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=f"{module.FILE} cannot be read"):
        module.read_file(path, count=COUNT)


def test_missing_file_says_what_it_is_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_MANUAL_DIR", str(tmp_path))
    with pytest.raises(SourceError, match=r"spcc_balanced_2000\.npz is missing.*Kessler.*type_true.*put it there"):
        prepare(tmp_path / "data")


@pytest.mark.manual_data
def test_the_real_file_is_as_described(manual):
    path = manual(f"{module.FOLDER}/{module.FILE}")
    objects = module.read_file(path)
    records = [objects.record(row) for row in range(module.COUNT)]
    fields = {name: np.stack([record[name] for record in records]) for name in records[0]}
    assert fields["label"].sum() == 1000
    assert fields["length"].max() == 47  # none is cut off
    assert sum(supernovae.trigger(objects.nights(row)[0]) is None for row in range(module.COUNT)) == 81
    for config in ("half", "bright"):
        parts = module.split(fields["label"] == 1, fields["peak_flux"] if config == "bright" else None)
        assert {name: len(rows) for name, rows in parts.items()} == module.SPLIT_SIZES[config]
    assert fields["label"][parts["train"]].mean() == pytest.approx(0.645, abs=1e-3)
    assert fields["label"][parts["test"]].mean() == pytest.approx(0.355, abs=1e-3)
    # The flux unit is that of the magnitude 27.5: type Ia at redshift 0.3 ± 0.03 reach i = 21.5.
    near = (np.abs(fields["true_redshift"] - 0.3) < 0.03) & (fields["label"] == 1)
    assert near.sum() > 5
    assert 27.5 - 2.5 * np.log10(np.median(fields["peak_flux"][near])) == pytest.approx(21.5, abs=0.5)
    assert np.abs(np.median(fields["peak"])) < 15
