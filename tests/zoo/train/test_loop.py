"""The loop: logs, evaluation, signals, and resuming as if nothing had happened."""

import functools
import io
import os
import signal
import struct
import sys

import jax
import numpy as np
import pytest

from zoo.errors import UserError
from zoo.train import (
    Checkpoints,
    Interrupted,
    Log,
    Progress,
    classification,
    create_state,
    finalise,
    fit,
    make_step,
    optimiser,
    parallelise,
    read_log,
    update_fn,
)

STEPS, EVERY = 7, 2
TASK = classification()


class Stop(Exception):
    """Raised in place of a batch."""


class Data:
    """Batches by number; remembers from where it was asked and whether it was closed, and fails on demand at one."""

    def __init__(self, make_batch, *, at=None, action=None, total=None):
        self.make_batch, self.at, self.action, self.total = make_batch, at, action, total
        self.asked, self.closed = [], 0

    def __call__(self, start):
        self.asked.append(start)
        self.number = start
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self.number == self.total:
            raise StopIteration
        batch = self.make_batch(self.number)
        if self.number == self.at:
            batch = self.action(batch) or batch
        self.number += 1
        return batch

    def close(self):
        self.closed += 1


def stop(batch):
    raise Stop


@pytest.fixture(scope="module")
def setup(perceptron, make_batch):
    """(state, compiled step), shared: neither is changed by training."""
    optimizer = optimiser("adamw", 0.05, weight_decay=1e-2)
    state = create_state(perceptron(), make_batch()["image"][:1], optimizer, jax.random.key(0), ema=True)
    jitter = lambda key, x: x + 0.1 * jax.random.normal(key, x.shape)
    step = make_step(update_fn(perceptron(), TASK, optimizer, augment=jitter), ema_decay=0.9)
    return state, parallelise(step)


@pytest.fixture
def train(setup, make_batch, tmp_path):
    """`train(data, …)`: one call of `fit` as a new process would make it."""

    def run(data=None, *, folder=tmp_path, checkpoints=True, say=pytest.fail, **options):
        state, step = setup
        options = {
            "steps": STEPS,
            "every": EVERY,
            "report": functools.partial(finalise, TASK),
            "log": folder,
            "progress": False,
            **options,
        }
        data = data or Data(make_batch)
        if not checkpoints:
            return fit(step, state, data, **options)
        with Checkpoints(folder / "checkpoints", say=say) as saved:
            return fit(step, state, data, checkpoints=saved, **options)

    return run


@pytest.fixture
def uninterrupted(train, tmp_path):
    return train(folder=tmp_path / "uninterrupted"), rows_of(tmp_path / "uninterrupted")


def rows_of(folder):
    """The log without the columns that time decides."""
    timed = ("seconds", "examples_per_second", "waiting")
    return [{k: v for k, v in row.items() if k not in timed} for row in read_log(folder / "metrics.csv")]


def events_of(folder):
    """{(tag, step): value} of all event files: records of length, checksum, message, checksum."""
    from tensorboardX.proto import event_pb2

    found = {}
    for path in sorted((folder / "tensorboard").glob("events*")):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = event_pb2.Event.FromString(data[place + 12 : place + 12 + length])
            place += length + 16
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
    return found


def score(variables):
    """An evaluation: any deterministic number of the variables."""
    return {"accuracy": float(np.cos(10 * np.asarray(jax.tree.leaves(variables)[0]).sum())), "name": "text is left out"}


def test_rows_are_logged_as_csv_and_events(train, tmp_path):
    train(evaluate=score, batches_per_epoch=4)
    rows = read_log(tmp_path / "metrics.csv")
    assert [(row["step"], row["split"]) for row in rows] == [
        (s, p) for s in (2, 4, 6, 7) for p in ("train", "validation")
    ]
    assert {"loss", "accuracy", "nll", "ece", "epoch", "seconds", "examples_per_second", "waiting"} <= set(rows[0])
    assert set(rows[1]) == {"step", "split", "epoch", "accuracy", "seconds"}
    assert [row["epoch"] for row in rows[::2]] == [0.5, 1.0, 1.5, 1.75]
    assert [row["count"] for row in rows[::2]] == [14, 14, 14, 7]  # seven of eight are real; a row counts its own steps
    events = events_of(tmp_path)
    for row in rows:
        for name in ("loss", "accuracy"):
            if name in row:
                assert events[f"{row['split']}/{name}", row["step"]] == pytest.approx(row[name], rel=1e-6)


def test_the_logged_loss_is_the_mean_over_the_steps_of_the_row(setup, train, make_batch, tmp_path):
    train()
    state, step = setup
    placed, parts = step.place(state), []
    for n in range(2):
        placed, sums = step(placed, step.split(make_batch(n)))
        parts.append(sums)
    expected = sum(float(s["loss"]) for s in parts) / sum(float(s["weight"]) for s in parts)
    assert read_log(tmp_path / "metrics.csv")[0]["loss"] == pytest.approx(expected, rel=1e-6)


def test_a_log_is_read_as_it_was_written(tmp_path):
    assert read_log(tmp_path / "metrics.csv") == []
    log = Log(tmp_path, tensorboard=False)
    log.write(1, "train", {"loss": 0.1 + 0.2, "recall": {"a": 1.0}, "name": "text", "list": [1.0], "none": None})
    log.write(2, "validation", {"accuracy": np.float32(0.5), "loss": 1e-30})
    log.close()
    expected = [
        {"step": 1, "split": "train", "loss": 0.1 + 0.2},
        {"step": 2, "split": "validation", "loss": 1e-30, "accuracy": 0.5},
    ]
    assert read_log(tmp_path / "metrics.csv") == log.rows == expected
    assert not (tmp_path / "tensorboard").exists()
    assert [row["step"] for row in Log(tmp_path, step=1, tensorboard=False).rows] == [1]
    assert [row["step"] for row in read_log(tmp_path / "metrics.csv")] == [1]


def test_fit_leaves_the_state_it_was_given_valid(setup, train, bits):
    before = bits(setup[0])
    with jax.debug_nans(False):  # JAX donates nothing while it looks for NaNs
        final = train(checkpoints=False)
    assert bits(setup[0]) == before and int(final.step) == STEPS


@pytest.mark.parametrize("number", range(STEPS))
def test_resuming_is_bitwise_the_same_as_not_stopping(train, make_batch, tmp_path, bits, uninterrupted, number):
    broken = Data(make_batch, at=number, action=stop)
    with pytest.raises(Stop):
        train(broken)
    assert broken.closed == 1
    data = Data(make_batch)
    final = train(data)
    assert data.asked == [number - number % EVERY] and data.closed == 1
    assert bits(final) == bits(uninterrupted[0])
    assert rows_of(tmp_path) == uninterrupted[1]


def test_rows_after_the_checkpoint_that_is_used_are_dropped(train, make_batch, tmp_path, bits, uninterrupted):
    with pytest.raises(Stop):
        train(Data(make_batch, at=5, action=stop))
    assert [row["step"] for row in rows_of(tmp_path)] == [2, 4]
    (tmp_path / "checkpoints" / "manifest-4.json").unlink()
    said, data = [], Data(make_batch)
    assert bits(train(data, say=said.append)) == bits(uninterrupted[0])
    assert data.asked == [2] and "Checkpoint 4" in said[0]
    assert rows_of(tmp_path) == uninterrupted[1]


def test_resuming_with_donation_is_bitwise_the_same(train, make_batch, bits, uninterrupted):
    with jax.debug_nans(False):
        with pytest.raises(Stop):
            train(Data(make_batch, at=5, action=stop))
        assert bits(train()) == bits(uninterrupted[0])


def test_resuming_goes_on_with_the_events(train, make_batch, tmp_path):
    with pytest.raises(Stop):
        train(Data(make_batch, at=5, action=stop))
    train()
    assert sorted(s for tag, s in events_of(tmp_path) if tag == "train/loss") == [2, 4, 6, 7]


@pytest.mark.parametrize("number", [0, 2, 3])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_saves_and_resuming_is_bitwise_the_same(train, make_batch, bits, uninterrupted, name, number):
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    data = Data(make_batch, at=number, action=lambda batch: os.kill(os.getpid(), signal.Signals[name]))
    with pytest.raises(
        Interrupted, match=rf"Stopped by {name}: saved at step {number + 1}; the same command"
    ) as caught:
        train(data)
    assert (caught.value.step, caught.value.saved, caught.value.signal_number) == (
        number + 1,
        True,
        signal.Signals[name],
    )
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before
    assert data.closed == 1
    again = Data(make_batch)
    final = train(again)
    assert again.asked == [number + 1]
    assert bits(final) == bits(uninterrupted[0])
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_signal_without_checkpoints_says_that_nothing_was_saved(train, make_batch):
    data = Data(make_batch, at=1, action=lambda batch: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted, match="nothing was saved"):
        train(data, checkpoints=False)


def test_a_second_interrupt_stops_at_once(train, make_batch):
    def twice(batch):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(Data(make_batch, at=1, action=twice))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoints(train, make_batch, tmp_path):
    poison = lambda batch: {**batch, "image": batch["image"] * np.float32(np.nan)}
    with jax.debug_nans(False), pytest.raises(UserError, match=r"loss is nan at step 4\. Lower the learning rate"):
        train(Data(make_batch, at=2, action=poison))
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps() == [2]
    assert [row["step"] for row in read_log(tmp_path / "metrics.csv")] == [2]


def test_data_that_run_out(train, make_batch):
    with pytest.raises(UserError, match=r"data ended after 3 batches; 7 were needed\. Take data that repeats"):
        train(Data(make_batch, total=3))
    with pytest.raises(UserError, match="data ended after 1 batches; 5 were needed"):
        train(Data(make_batch, total=3))


def test_a_training_that_is_over_returns_at_once(train, make_batch, bits, tmp_path):
    final = train()
    before = (tmp_path / "metrics.csv").read_bytes()
    data = Data(make_batch, at=STEPS, action=stop)
    assert bits(train(data)) == bits(final)
    assert bits(train(data, steps=3)) == bits(final)  # more steps than wanted were taken already
    assert data.asked == []
    assert (tmp_path / "metrics.csv").read_bytes() == before
    assert int(train(steps=STEPS + 1).step) == STEPS + 1


def test_no_steps_at_all(train):
    with pytest.raises(UserError, match="steps must be at least 1, got 0"):
        train(steps=0)


def best_step(folder, template):
    with Checkpoints(folder / "checkpoints") as checkpoints:
        return checkpoints.restore(template, best=True)


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [
        ("accuracy", [0.1, 0.9, 0.5, 0.9], 4),
        ("accuracy", [0.9, 0.1, 0.5, 0.2], 2),
        ("accuracy", [float("nan"), 0.1, 0.5, float("nan")], 6),
        ("loss", [0.9, 0.1, 0.5, 0.2], 4),
        ("nll", [0.9, 0.4, 0.5, 0.2], 7),
    ],
)
def test_the_monitor_chooses_the_best(setup, train, tmp_path, monitor, values, best):
    course = iter(values)
    train(evaluate=lambda variables: {monitor: next(course), "other": 1.0}, monitor=monitor)
    restored = best_step(tmp_path, setup[0])
    assert restored.step == best and restored.record["best_step"] == best


def test_the_best_is_remembered_over_a_resume(setup, train, make_batch, tmp_path):
    course = iter([0.9, 0.1, 0.5, 0.2])
    evaluate = lambda variables: {"accuracy": next(course)}
    with pytest.raises(Stop):
        train(Data(make_batch, at=3, action=stop), evaluate=evaluate)
    train(evaluate=evaluate)
    assert best_step(tmp_path, setup[0]).step == 2


def test_a_monitor_that_is_not_evaluated(train):
    with pytest.raises(UserError, match="monitor='auc' is not among the entries of the evaluation: accuracy, name"):
        train(evaluate=score, monitor="auc")


def test_the_moving_average_is_evaluated(train, bits):
    seen = []
    final = train(evaluate=lambda variables: seen.append(bits(variables)) or {"accuracy": 0.0})
    assert seen[-1] == bits(final.ema) != bits(final.variables)


def test_lines_where_there_is_no_terminal(train, make_batch, capsys):
    with pytest.raises(Stop):
        train(Data(make_batch, at=4, action=stop), progress=True, evaluate=score)
    first = capsys.readouterr().err
    assert "First step after" in first and "step 4/7  train loss " in first and "validation accuracy" in first
    assert "examples/s, waiting for data" in first and "Resuming" not in first
    train(progress=True)
    assert capsys.readouterr().err.startswith("Resuming at step 4 of 7.\n")


def test_silence_on_request(train, capsys):
    train(progress=False)
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


def test_a_bar_on_a_terminal(monkeypatch):
    pytest.importorskip("rich")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    with Progress(10, done=2) as bar:
        bar.update(5, {"loss": 0.25, "accuracy": 0.75, "nll": 3.0}, 1234.5, 0.016)
        bar.line("a line above")
    drawn = terminal.getvalue()
    for text in ("loss 0.250", "accuracy 0.750", "1,234 ex", "1.6%", "5/10", "a line above"):
        assert text in drawn, text
