"""`kill -9` at any moment, and the same command again: bitwise the parameters of a run that was never stopped."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from zoo.train import read_log

# A training as a user would write it: data from the pipeline, a checkpoint every other step, the last line a hash.
SCRIPT = """
import functools, hashlib, os, signal, sys, threading, time

folder, kill, at = sys.argv[1], sys.argv[2], float(sys.argv[3])
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if kill == "after":
    threading.Timer(at, die).start()

import flax.linen as nn
import jax
import numpy as np

from zoo import train
from zoo_datasets.loading.pipeline import batches
from zoo_datasets.loading.records import ArraySource


class Model(nn.Module):
    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(64)(inputs))
        return nn.Dense(3)(nn.Dropout(0.3, deterministic=not train)(x))


rng = np.random.default_rng(0)
source = ArraySource({"image": rng.normal(size=(53, 8)).astype(np.float32), "label": rng.integers(0, 3, 53)})


def data(start):
    for number, batch in enumerate(batches(source, batch_size=8, epochs=None, start=start), start):
        if kill == "batch" and number == at:
            die()
        time.sleep(0.02)
        yield batch


if kill == "write":  # between the checkpoint and its seal
    from zoo.train import checkpoint

    original = checkpoint._write_atomically
    last = f"manifest-{at:.0f}.json"
    checkpoint._write_atomically = lambda path, text: die() if path.name == last else original(path, text)
if kill == "save":  # while Orbax writes in the background
    save = train.Checkpoints.save

    def save_and_die(self, state, record, *, best=False):
        save(self, state, record, best=best)
        if int(state.step) >= 8:
            threading.Timer(at, die).start()

    train.Checkpoints.save = save_and_die

task = train.classification()
optimizer = train.optimiser("adamw", train.warmup_cosine(0.01, steps=20, warmup=3), weight_decay=1e-3)
state = train.create_state(Model(), np.zeros((1, 8), np.float32), optimizer, jax.random.key(0), ema=True)
step = train.parallelise(train.make_step(train.update_fn(Model(), task, optimizer), ema_decay=0.9))
with train.Checkpoints(folder + "/checkpoints") as checkpoints:
    report = functools.partial(train.finalise, task)
    final = train.fit(step, state, data, steps=20, report=report, every=2, checkpoints=checkpoints, log=folder)
leaves = jax.tree.leaves(final.replace(key=jax.random.key_data(final.key)))
print(hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest(), flush=True)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`run(folder, kill, at)`: one process; (exit code, last line, what it said, seconds)."""
    home = tmp_path_factory.mktemp("killed")
    (home / "script.py").write_text(SCRIPT)
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "",
        "JAX_COMPILATION_CACHE_DIR": str(home / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

    def process(folder, kill="never", at=0.0):
        begun = time.monotonic()
        command = [sys.executable, str(home / "script.py"), str(folder), kill, str(at)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout.strip().split("\n")[-1], done.stderr, time.monotonic() - begun

    return process


@pytest.fixture(scope="module")
def uninterrupted(run, tmp_path_factory):
    """Hash of a run that is left alone."""
    code, digest, said, _ = run(tmp_path_factory.mktemp("uninterrupted"))
    assert code == 0 and len(digest) == 64, said
    return digest


def check(run, folder, expected, kill, at):
    code, _, said, _ = run(folder, kill, at)
    assert code == -signal.SIGKILL, said
    code, digest, said, _ = run(folder)
    assert code == 0 and digest == expected, said
    assert [row["step"] for row in read_log(folder / "metrics.csv")] == list(range(2, 21, 2))
    return said


@pytest.mark.parametrize(
    ("kill", "at", "resumed"),
    [
        ("write", 8, (6,)),  # step 8 is written and not sealed
        # while step 8 is written; on a busy machine the timer comes later
        pytest.param("save", 0.004, (6, 8, 10), marks=pytest.mark.slow),
    ],
)
def test_killed_and_started_again(run, uninterrupted, tmp_path, kill, at, resumed):
    said = check(run, tmp_path, uninterrupted, kill, at)
    assert any(f"Resuming at step {step} of 20." in said for step in resumed), said


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_a_random_moment(run, uninterrupted, tmp_path, seed):
    # Start-up included: more than half of a run is imports and compilation.
    code, digest, said, seconds = run(tmp_path / "alone")
    assert code == 0 and digest == uninterrupted, said
    check(run, tmp_path, uninterrupted, "after", random.Random(seed).uniform(0.05, 0.8) * seconds)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.001, 0.01, 0.03])
def test_killed_while_a_checkpoint_is_written(run, uninterrupted, tmp_path, delay):
    check(run, tmp_path, uninterrupted, "save", delay)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 11, 19])
def test_killed_at_a_batch(run, uninterrupted, tmp_path, number):
    check(run, tmp_path, uninterrupted, "batch", number)


@pytest.mark.slow
def test_killed_again_and_again(run, uninterrupted, tmp_path):
    for number in (3, 5, 9, 10, 16):
        assert run(tmp_path, "batch", number)[0] == -signal.SIGKILL
    code, digest, said, _ = run(tmp_path)
    assert code == 0 and digest == uninterrupted, said
