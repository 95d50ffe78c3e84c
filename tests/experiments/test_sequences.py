"""Sequences from records to trained, scored, reported and predicted: one truth for the whole, or one for every step."""

import dataclasses
import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.augment import Augmentation
from zoo.errors import UserError
from zoo_datasets.loading.records import ArraySource, DataError, Dataset
from zoo_experiments.verbs import evaluating, predicting
from zoo_experiments.verbs import experiment as module
from zoo_experiments.verbs.evaluating import evaluate_other, value_of
from zoo_experiments.verbs.experiment import Experiment, Optimisation, as_json, assemble, from_json
from zoo_experiments.verbs.outputs import outputs_from_json
from zoo_experiments.verbs.predicting import predict_run
from zoo_experiments.verbs.reporting import write_report
from zoo_experiments.verbs.runs import open_run
from zoo_experiments.verbs.sequences import Sequences, random_end
from zoo_experiments.verbs.training import train_experiment

T = 8
VOCABULARY = ("?", "a", "b", "\n")


def fields(kind, count, seed):
    """Stacked records: unequal lengths, of symbols or of two channels; what they mean can be learnt."""
    rng = np.random.default_rng(seed)
    length = rng.integers(1, T + 1, count).astype(np.int32)
    length[0] = T
    valid = np.arange(T) < length[:, None]
    if kind == "symbols":
        symbols = np.where(valid, rng.integers(1, len(VOCABULARY), (count, T)), 0).astype(np.int32)
        # What is asked for is the symbol that is there.
        return {"sequence": symbols, "length": length, "label": symbols.copy()}
    level = rng.normal(size=count)
    noise = 0.3 * rng.normal(size=(count, T, 2))
    sequence = np.where(valid[..., None], level[:, None, None] + noise, 0).astype(np.float32)
    times = np.where(valid, np.cumsum(rng.uniform(1, 5, (count, T)), axis=1), 0).astype(np.float32)
    found = {"sequence": sequence, "times": times, "length": length, "redshift": rng.random(count).astype(np.float32)}
    if kind == "classes":
        return {**found, "label": (level > 0).astype(np.int32)}
    if kind == "numbers":
        return {**found, "target": np.stack([level, level**2], 1).astype(np.float32)}
    path = np.where(valid[..., None], np.cumsum(sequence, axis=1), 0)
    return {**{n: v for n, v in found.items() if n != "times"}, "target": path.astype(np.float32)}


TRUTH = {
    "classes": {"class_names": ("low", "high"), "channels": {"flux": "Jy", "error": "Jy"}},
    "numbers": {"targets": {"level": "Jy", "power": "Jy²"}, "channels": {"flux": "Jy", "error": "Jy"}},
    "symbols": {"class_names": VOCABULARY, "vocabulary": VOCABULARY},
    "paths": {"targets": {"x": "m", "y": "m"}, "channels": {"x": "m", "y": "m"}},
}
NET = {"model": "gru", "epochs": 3, "batch_size": 8, "evaluations": 2}
FAST = Optimisation(learning_rate=0.05, ema=0.5)
EXPERIMENTS = {
    "classes": Experiment(
        data="toy/classes",
        options=("width=4", "readout=mean"),
        sequences=Sequences(softening=0.5, add=("redshift",), random_end=True, buckets=2),
        properties=("redshift",),
        optimisation=FAST,
        **NET,
    ),
    "numbers": Experiment(data="toy/numbers", options=("width=4",), optimisation=FAST, **NET),
    "symbols": Experiment(
        data="toy/symbols", options=("width=4", "embedding=3"), score="bits", optimisation=FAST, **NET
    ),
    "paths": Experiment(
        data="toy/paths", optimisation=FAST, **NET | {"model": "window", "options": ("window=2", "widths=(4,)")}
    ),
}
# Metrics that a kind must have, and figures.
KINDS = {
    "classes": (
        {"accuracy", "recall high", "nll", "roc_auc"},
        {"confusion", "reliability", "worst", "best", "over_time", "probabilities", "gradient", "against_redshift"},
    ),
    "numbers": ({"r2", "rmse level", "bias power"}, {"numbers", "numbers_1", "worst", "best", "over_time", "gradient"}),
    "symbols": ({"accuracy", "nll", "bits", "ece"}, {"examples", "over_steps"}),
    "paths": ({"r2", "rmse", "mae", "bias"}, {"examples", "worst", "over_steps", "gradient"}),
}
# Numbers of the whole take the ways of classes and of paths: their runs are long, and find little of their own.
EVERY_KIND = [pytest.param(kind, marks=pytest.mark.slow) if kind == "numbers" else kind for kind in KINDS]


def dataset(kind, *, labels=True, **changes):
    splits = {"train": fields(kind, 40, 0), "validation": fields(kind, 24, 1), "test": fields(kind, 20, 2)}
    truth, out = {"class_names": None, **TRUTH[kind], **changes.pop("truth", {})}, ()
    if not labels:
        truth, out = {**truth, "class_names": None, "targets": None}, ("label", "target")
    splits = {s: {n: v for n, v in {**f, **changes}.items() if n not in out} for s, f in splits.items()}
    sources = {split: ArraySource({n: v for n, v in f.items() if v is not None}) for split, f in splits.items()}
    return Dataset(f"toy/{kind}", sources, description="", **truth)


def load_toy(name, *, labels=True, seed=0):
    return dataset(name.removeprefix("toy/"), labels=labels)


@pytest.fixture(scope="module", autouse=True)
def toys():
    """`load` gives the sets of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load", load_toy)
        patch.setattr(predicting, "load", load_toy)
        yield


def train(kind, folder, **changes):
    experiment = dataclasses.replace(EXPERIMENTS[kind], **changes)
    return train_experiment(kind, experiment, folder=folder, progress=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`trained(kind)` → its run, trained once."""

    @functools.cache
    def build(kind):
        return train(kind, tmp_path_factory.mktemp("runs") / kind / "seed0")

    return build


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_is_trained_scored_and_reported(kind, trained):
    run = trained(kind)
    metrics, drawn = KINDS[kind]
    rows = run.read("results.json")["metrics"]
    names = [row["name"] for row in rows]
    assert metrics <= set(names) and len(names) == len(set(names))
    for row in rows:
        low, high = row["interval"]
        assert low <= high and np.isfinite(row["value"]) and row["count"] <= 24, row
    assert open_run(str(run.folder)) == run and run.field == "sequence"
    assert outputs_from_json(json.loads(run.file("config.json").read_text())["data"]) == run.outputs
    made = run.setup(splits=("train", "validation"))
    page = " ".join(write_report(run, made, run.weights(made).state).read_text().split())
    assert "40 train, 24 validation sequences" in page and "Where the network looks" not in page
    assert {path.stem for path in run.file("figures").iterdir()} >= {"learning_curves", *drawn}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_kept_weights_and_written_predictions_give_the_scores(kind, trained):
    run = trained(kind)
    made = run.setup(splits=("validation",))
    source = made.data["validation"]
    raw, sums = made.evaluation()(run.weights(made).state.averaged, source)
    rows = {row["name"]: row["value"] for row in run.read("results.json")["metrics"]}
    for row in evaluating.scores(made, raw, source):
        assert row["value"] == pytest.approx(rows[row["name"]], abs=1e-6), row["name"]
    numbers = zoo.train.finalise(made.task, sums)
    score = made.outputs.score
    # Float32 sums against float64.
    assert rows[score] == pytest.approx(numbers[score], abs=1e-5)
    steps = made.outputs.steps
    assert run.file("predictions_validation.npz").exists() == steps
    if steps:
        with np.load(run.file("predictions_validation.npz")) as file:
            np.testing.assert_allclose(file["prediction"], made.task.predict(raw), atol=1e-6)
    # It has learnt: chance is at most 2/3 of the symbols and r2 = 0, of few sequences.
    assert rows[score] > {"classes": 0.7, "numbers": 0.1, "symbols": 0.7, "paths": 0.1}[kind]


@pytest.mark.parametrize("kind", ["classes", "symbols"])
def test_a_resumed_run_is_an_uninterrupted_one(kind, trained, tmp_path):
    """Its second half is trained again, from what is on disk."""
    run, again = trained(kind), tmp_path / kind
    shutil.copytree(run.folder, again)
    steps = sorted(int(path.name) for path in (again / "checkpoints").iterdir() if path.name.isdigit())
    assert len(steps) == 2
    shutil.rmtree(again / "checkpoints" / str(steps[-1]))
    resumed = train(kind, again)
    assert resumed == dataclasses.replace(run, folder=again)
    made = run.setup(splits=("train", "validation"))
    assert len(made.buckets) == {"classes": 2, "symbols": 4}[kind] and made.steps == steps[-1]
    assert resumed.read("results.json")["metrics"] == run.read("results.json")["metrics"]
    ours, theirs = (one.weights(made).state.params for one in (resumed, run))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_an_epoch_of_buckets_is_one_in_the_log(trained):
    run = trained("symbols")
    rows = zoo.train.read_log(run.file("metrics.csv"))
    made = run.setup(splits=("train", "validation"))
    assert rows[-1]["step"] == made.steps and rows[-1]["epoch"] == pytest.approx(3)
    # Ends of buckets are filled up.
    assert made.batches_per_epoch > len(made.data["train"]) / run.experiment.batch_size


def test_every_bucket_is_compiled_once(trained):
    made = assemble(EXPERIMENTS["paths"], dataset("paths"), splits=("train",))
    step, state = jax.jit(made.step()), made.state()
    with made.batches() as batches:
        shapes = [batch["sequence"].shape for batch in batches if state is step(state, batch)[0] or True]
    assert len(shapes) == made.steps and step._cache_size() == len(set(shapes)) == len(made.buckets)


def test_sequences_of_one_length_have_no_buckets():
    equal = np.full(1, T, np.int32)
    data = dataset("paths")
    whole = {s: ArraySource({**v.arrays, "length": equal.repeat(len(v))}) for s, v in data.splits.items()}
    made = assemble(EXPERIMENTS["paths"], dataclasses.replace(data, splits=whole), splits=("train",))
    assert made.buckets == () and made.steps == -(-3 * 40 // 8)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_predict_says_what_evaluation_says(kind, trained, tmp_path):
    run = trained(kind)
    steps = run.outputs.steps
    out = tmp_path / f"said.{'npz' if steps else 'csv'}"
    told = predict_run(run, data=f"toy/{kind}", out=out)
    assert set(told) == set(run.outputs.names)
    known = run.file(f"predictions_validation.{'npz' if steps else 'csv'}")
    if steps:
        with np.load(out) as file, np.load(known) as expected:
            # Between those of train and of test.
            np.testing.assert_array_equal(file["prediction"][40:64], expected["prediction"])
            assert len(file["prediction"]) == len(file["names"]) == 40 + 24 + 20
    else:
        head, *rows = (line.split(",") for line in out.read_text().splitlines())
        first, *expected = (line.split(",") for line in known.read_text().splitlines())
        columns = [first.index(name) for name in head if name.startswith("p")]
        assert head[:2] == ["record", "name"] and len(rows) == 40 + 24 + 20
        assert [row[2:] for row in rows[40:64]] == [[row[c] for c in columns] for row in expected]


def test_shares_of_predicted_classes_do_not_count_what_is_beyond_the_end(trained, tmp_path, zoo):
    """Counted by hand over the valid steps of the predictions."""
    run = trained("symbols")
    told = predict_run(run, data="toy/symbols", out=tmp_path / "out.npz")
    parts = [fields("symbols", count, seed) for seed, count in enumerate((40, 24, 20))]
    valid = np.concatenate([np.arange(T) < part["length"][:, None] for part in parts])
    with np.load(tmp_path / "out.npz") as file:
        said = file["prediction"].argmax(-1)[valid]
        np.testing.assert_array_equal(file["length"], valid.sum(1))
    assert told == pytest.approx({name: np.mean(said == k) for k, name in enumerate(VOCABULARY)})
    outcome = zoo("predict", run.folder, "--data", "toy/symbols", "--out", tmp_path / "again.npz")
    assert outcome.code == 0 and f"a {told['a']:.1%} of the steps" in outcome.out


def test_other_data_must_be_of_the_same_symbols_and_shape(trained, tmp_path):
    symbols, paths = trained("symbols"), trained("paths")
    assert value_of({"metrics": evaluate_other(symbols, data="toy/symbols", split="test")}, "bits", "toy/symbols test")
    other = functools.partial(dataset, "symbols", truth={"vocabulary": ("?", "b", "a", "\n")})
    with pytest.MonkeyPatch.context() as patch:
        for place in (predicting, module):
            patch.setattr(place, "load", lambda *_, labels, **__: other(labels=labels))
        with pytest.raises(UserError, match=r"stand for 4 symbols '\?ba.*trained on 4 symbols '\?ab.*the same"):
            predict_run(symbols, data="toy/other", out=tmp_path / "out.npz")
        with pytest.raises(UserError, match=r"stand for 4 symbols '\?ba.*trained on 4 symbols '\?ab.*the same"):
            evaluate_other(symbols, data="toy/other", split="test")
    with pytest.raises(
        UserError, match=r"records of toy/classes become sequences \(8, 2\).*takes \(8,\)|stand for 0 symbols"
    ):
        predict_run(symbols, data="toy/classes", out=tmp_path / "out.npz")
    with pytest.raises(UserError, match=r"predicts steps, which go into an .npz file: --out PATH.npz; got .*out.csv"):
        predict_run(paths, data="toy/paths", out=tmp_path / "out.csv")
    images = Dataset("images", {"all": ArraySource({"image": np.zeros((2, 8, 8, 1))})}, None, "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predicting, "load", lambda *_, **__: images)
        with pytest.raises(UserError, match=r"takes sequences \(8, 2\) \(steps, channels\); my\.npz has image"):
            predict_run(paths, data="my.npz", out=tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


# Preprocessing.


def record(**changes):
    rng = np.random.default_rng(0)
    return {
        "sequence": rng.normal(0, 30, (6, 2)).astype(np.float32),
        "times": np.arange(6, dtype=np.float32),
        "label": np.arange(6, dtype=np.int32),
        "redshift": np.float32(0.7),
        "length": np.int32(4),
        **changes,
    }


def test_softening_is_odd_linear_when_small_and_undone_by_its_inverse():
    soft = Sequences(softening=2.0)
    one, other = soft(record()), soft(record(sequence=-record()["sequence"]))
    np.testing.assert_array_equal(one["sequence"], -other["sequence"])
    np.testing.assert_allclose(np.sinh(one["sequence"][:4]) * 2, record()["sequence"][:4], rtol=1e-5)  # float32
    small = soft(record(sequence=np.full((6, 2), 1e-3, np.float32)))["sequence"][:4]
    np.testing.assert_allclose(small, 1e-3 / 2, rtol=1e-6)


def test_steps_beyond_the_end_become_zero_whatever_was_there():
    sequence = record()["sequence"]
    sequence[4:] = np.nan
    for prepare in (Sequences(), Sequences(softening=1.0, add=("redshift",))):
        found = prepare(record(sequence=sequence))["sequence"]
        assert found.dtype == np.float32 and not found[4:].any() and found[:4].all()
    frames = Sequences()(record(sequence=np.ones((6, 3, 3, 1), np.uint8)))["sequence"]
    assert frames.dtype == np.float32 and frames[:4].all() and not frames[4:].any()


def test_fields_stand_beside_every_step():
    found = Sequences(add=("redshift", "length"))(record())["sequence"]
    np.testing.assert_array_equal(found[:4, :2], record()["sequence"][:4])
    np.testing.assert_array_equal(found[:4, 2:], np.tile(np.float32([0.7, 4]), (4, 1)))
    assert not found[4:].any()


@pytest.mark.parametrize(("length", "first"), [(6, 3), (5, 2), (4, 1), (3, 0), (1, 0)])
def test_the_last_steps_are_kept_with_their_times_and_truth(length, first):
    found = Sequences(last=3)(record(length=np.int32(length), target=np.ones(2)))
    whole = record()
    kept = slice(first, first + 3)
    assert found["length"] == min(length, 3) and found["length"].dtype == np.int32
    np.testing.assert_array_equal(found["times"], whole["times"][kept])
    np.testing.assert_array_equal(found["label"], whole["label"][kept])
    beyond = np.arange(6)[:, None] < length
    np.testing.assert_array_equal(found["sequence"], (whole["sequence"] * beyond)[kept])
    assert found["target"].shape == (2,)
    assert Sequences(last=6)(record())["sequence"].shape == Sequences(last=9)(record())["sequence"].shape == (6, 2)


def test_symbols_stay_symbols():
    symbols = record(sequence=np.array([1, 2, 3, 1, 0, 0], np.int32))
    found = Sequences(last=3)(symbols)
    assert found["sequence"].dtype == np.int32 and found["sequence"].tolist() == [2, 3, 1] and found["length"] == 3
    for wrong in (Sequences(softening=1.0), Sequences(add=("redshift",))):
        with pytest.raises(UserError, match="are for numbers; these sequences are of symbols"):
            wrong(symbols)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"softening": -1.0}, "softening"),
        ({"softening": np.inf}, "softening"),
        ({"last": -1}, r"last.*at least 0.*-1"),
        ({"buckets": 0}, "buckets.*1 … 4.*0"),
        ({"buckets": 5}, "buckets.*1 … 4.*5"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(UserError, match=f"sequences.{words}"):
        Sequences(**options)


def test_settings_survive_json():
    for experiment in EXPERIMENTS.values():
        assert from_json(json.loads(json.dumps(as_json(experiment)))) == experiment


def test_random_ends_are_all_as_likely_and_inside(key):
    sequence = zoo.Sequence(jnp.ones((T, 2)), jnp.int32(5))
    ends = jax.jit(jax.vmap(random_end, (0, None)))(jax.random.split(key, 2000), sequence)
    counts = np.bincount(ends.lengths, minlength=T)
    assert ends.lengths.dtype == jnp.int32 and counts[0] == 0 and not counts[6:].any()
    # Five standard deviations of the binomial.
    assert np.abs(counts[1:6] - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)
    np.testing.assert_array_equal(ends.values, np.ones((2000, T, 2)))
    assert random_end(key, zoo.Sequence(jnp.ones((T, 2)), jnp.int32(1))).lengths == 1
    one = random_end(jax.random.split(key, 2000)[7], sequence)
    assert one.lengths == ends.lengths[7]


def test_random_ends_reach_the_network_in_training_only():
    """From the same weights, the loss of the training step differs and that of the evaluation does not."""
    losses = {}
    for end in (False, True):
        experiment = Experiment(model="window", options=("widths=(4,)",), sequences=Sequences(random_end=end))
        made = assemble(experiment, dataset("classes"), splits=("train", "validation"))
        state = made.state()
        with made.batches() as batches:
            _, sums = jax.jit(made.step())(state, next(batches))
        losses[end] = float(sums["loss"]), made.evaluation().numbers(state.variables)["loss"]
    assert losses[True][0] != losses[False][0] and losses[True][1] == losses[False][1]


# What does not fit.


def made_of(kind, *, data=None, **changes):
    experiment = dataclasses.replace(EXPERIMENTS[kind], **changes)
    return assemble(experiment, data or dataset(kind), splits=("train", "validation"))


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("symbols", {"model": "conv1d", "options": ()}, "conv1d has no option symbols, which these data need; lstm"),
        ("paths", {"model": "conv1d", "options": ()}, "conv1d has no option readout, which these data need; lstm"),
        ("paths", {"model": "mlp", "options": ()}, "mlp has no option readout"),
        ("classes", {"model": "unet", "options": ()}, r"unet cannot take sequences \(8, 3\) \(steps, channels\)"),
        ("classes", {"options": ("readout=steps",)}, r"truth is about the whole sequence, for which gru should give"),
        (
            "symbols",
            {"options": ("readout=last",)},
            "The model option readout cannot be given: it follows from the data, here 'steps'",
        ),
        ("symbols", {"options": ("symbols=9",)}, "The model option symbols cannot be given: it is the number of sy"),
        ("classes", {"augmentation": Augmentation(rotate=1.0)}, "Augmentation and views are for images; sequences h"),
        ("classes", {"views": "d4"}, "Augmentation and views are for images; sequences have sequences.random_end"),
        ("paths", {"sequences": Sequences(random_end=True)}, "random_end is for one truth of the whole sequence; her"),
        ("classes", {"sequences": Sequences(add=("mass",))}, "sequences.add names 'mass', which is no number of the"),
        ("classes", {"sequences": Sequences(add=("times",))}, "sequences.add names 'times', which is no number of"),
        ("symbols", {"sequences": Sequences(softening=1.0)}, "are for numbers; these sequences are of symbols"),
        ("symbols", {"optimisation": Optimisation(loss="dice")}, "'dice', which is for classes and masks of pixels"),
    ],
)
def test_settings_that_do_not_fit_sequences_are_refused(kind, changes, words):
    with pytest.raises(UserError, match=words):
        made_of(kind, **changes)


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("classes", {"length": None}, "sequence needs a field length, the number of its steps"),
        ("classes", {"label": np.arange(40) % 3}, r"record 2: label should be in 0 … 1, got 2"),
        (
            "symbols",
            {"label": np.zeros((40, T + 1), np.int32)},
            "label should have the 8 steps of the seq.*, got 9",
        ),
        ("paths", {"target": np.zeros((40, T - 1, 2))}, "target should have the 8 steps of the sequences, got 7"),
    ],
)
def test_records_that_are_no_sequences_are_refused(kind, changes, words):
    train = {n: v for n, v in {**fields(kind, 40, 0), **changes}.items() if v is not None}
    data = dataset(kind)
    data.splits["train"] = ArraySource(train)
    with pytest.raises((UserError, DataError), match=words):
        made_of(kind, data=data)


@pytest.mark.parametrize("last", [0, 5])
@pytest.mark.parametrize("length", [0, -3, T + 4])
def test_lengths_that_are_none_are_refused_by_their_record(length, last):
    data = dataset("classes")
    data.splits["train"].arrays["length"][7] = length
    with pytest.raises(DataError, match=rf"toy/classes, train, record 7: length should be in 1 .*got {length}\."):
        made_of("classes", data=data, sequences=Sequences(last=last))


def test_times_that_do_not_ascend_and_symbols_without_a_name_are_refused():
    data = dataset("classes")
    times, length = data.splits["validation"].arrays["times"], data.splits["validation"].arrays["length"]
    row = np.flatnonzero(length > 2)[0]
    times[row, :2] = times[row, 1::-1]
    with pytest.raises(DataError, match=f"toy/classes, validation, record {row}: times should ascend.*sort the steps"):
        made_of("classes", data=data)
    data = dataset("symbols")
    data.splits["train"].arrays["sequence"][3, 0] = 4
    with pytest.raises(DataError, match=r"record 3: symbols should be numbers of the vocabulary, 0 … 3, got 4"):
        made_of("symbols", data=data)


def test_nan_within_the_length_is_refused_by_its_record():
    data = dataset("classes")
    data.splits["train"].arrays["sequence"][5, 0, 1] = np.nan
    with pytest.raises(DataError, match=r"record 5: field 'sequence' should be finite, got 1 NaN .* first at \(0, 1\)"):
        made_of("classes", data=data)


def test_balanced_weights_count_the_steps_within_the_lengths():
    how = Optimisation(class_weights="balanced")
    data = dataset("symbols")
    for source in data.splits.values():
        # No record begins with 0, which fills what is beyond the end: give it some steps.
        source.arrays["label"][:10, 0] = 0
    made = made_of("symbols", data=data, optimisation=how)
    arrays = made.data["train"].arrays
    counts = np.bincount(arrays["label"][np.arange(T) < arrays["length"][:, None]], minlength=4)
    batch = {"label": jnp.array([[0, 1, 2, 3]]), "length": jnp.array([4])}
    _, weights = made.task.loss(jnp.zeros((1, 4, 4)), batch)
    np.testing.assert_allclose(weights[0], counts.sum() / 4 / counts, rtol=1e-6)  # float32


def test_standardised_by_the_steps_within_the_lengths():
    made = made_of("paths")
    arrays = made.data["train"].arrays
    rows = arrays["target"][np.arange(T) < arrays["length"][:, None]]
    np.testing.assert_allclose(made.outputs.centre, rows.mean(0, dtype=float), rtol=1e-6)
    np.testing.assert_allclose(made.outputs.scale, rows.std(0, dtype=float), rtol=1e-6)
