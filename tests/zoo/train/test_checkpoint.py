"""Checkpoints that are damaged in every way we can think of, and full disks."""

import collections
import errno
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from zoo.errors import UserError
from zoo.train import Checkpoints, State, create_state, optimiser

pytestmark = pytest.mark.smoke


class Model(nn.Module):
    """A kernel in float32, one in bfloat16, and statistics."""

    features: int = 3

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        x = nn.Dense(self.features, name="first")(inputs)
        return nn.BatchNorm(use_running_average=not train, name="norm")(nn.Dense(2, param_dtype=jnp.bfloat16)(x))


def make_state(name="adamw", **options):
    optimizer = optimiser(name, 0.1, clip=1.0)
    return create_state(Model(**options), jnp.ones((1, 4)), optimizer, jax.random.key(3), ema=True)


@pytest.fixture(scope="module")
def state():
    return make_state()


def at(state, step):
    """The state at a step; its parameters tell which."""
    return state.replace(
        step=jnp.asarray(step, jnp.int32), params=jax.tree.map(lambda p: (p + step).astype(p.dtype), state.params)
    )


def save_all(folder, state, steps, best=()):
    with Checkpoints(folder) as checkpoints:
        for step in steps:
            checkpoints.save(at(state, step), {"batches": step}, best=step in best)
            assert step in checkpoints.steps()
        return checkpoints.steps()


def restore(folder, template, **options):
    """(restored or None, lines said)."""
    said = []
    with Checkpoints(folder, say=said.append) as checkpoints:
        return checkpoints.restore(template, **options), said


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def biggest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def flip(path, place=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if place is None else place] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "flipped byte": lambda folder, step: flip(biggest_file(folder / str(step))),
    "truncated file": lambda folder, step: os.truncate(biggest_file(folder / str(step)), 10),
    "emptied file": lambda folder, step: os.truncate(biggest_file(folder / str(step)), 0),
    "missing file": lambda folder, step: biggest_file(folder / str(step)).unlink(),
    "missing folder": lambda folder, step: shutil.rmtree(folder / str(step)),
    "missing manifest": lambda folder, step: (folder / f"manifest-{step}.json").unlink(),
    "empty manifest": lambda folder, step: os.truncate(folder / f"manifest-{step}.json", 0),
    "half a manifest": lambda folder, step: os.truncate(folder / f"manifest-{step}.json", 300),
    "manifest of something else": lambda folder, step: (folder / f"manifest-{step}.json").write_text("[1, 2]"),
}


def flip_manifest(folder, step):
    path = folder / f"manifest-{step}.json"
    flip(path, path.read_bytes().index(b"float32"))


DAMAGES["flipped byte in the manifest"] = flip_manifest


def test_round_trip_is_bitwise(tmp_path, state, bits):
    record = {"batches": 7, "best": 0.1 + 0.2, "best_step": None, "seconds": 1e-3}
    with Checkpoints(tmp_path / "run") as checkpoints:
        checkpoints.save(at(state, 7), record)
        restored = checkpoints.restore(state)
    assert isinstance(restored.state, State)
    assert jax.tree.structure(restored.state) == jax.tree.structure(state)
    assert bits(restored.state) == bits(at(state, 7))
    assert restored.record == record and restored.step == 7
    assert jax.random.normal(restored.state.key) == jax.random.normal(state.key)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32"), jnp.dtype("bfloat16")}


def test_nothing_saved_is_none(tmp_path, state):
    assert restore(tmp_path / "run", state) == (None, [])


@pytest.mark.parametrize("best", [(1,), (2, 4), (5,), ()])
def test_the_last_two_and_the_best_are_kept(tmp_path, state, best):
    kept = save_all(tmp_path, state, range(1, 6), best)
    assert kept == sorted({4, 5, *best[-1:]})
    folders = sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit())
    assert folders == kept and len(list(tmp_path.glob("manifest-*"))) == len(kept)
    assert restore(tmp_path, state)[0].step == 5
    assert restore(tmp_path, state, best=True)[0].step == (best[-1] if best else 5)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, state, bits, damage):
    save_all(tmp_path, state, [10, 20])
    DAMAGES[damage](tmp_path, 20)
    restored, said = restore(tmp_path, state)
    assert restored.step == 10 and restored.record == {"batches": 10}
    assert bits(restored.state) == bits(at(state, 10))
    assert len(said) == 1 and "Checkpoint 20 in " + str(tmp_path) in said[0]
    assert ("interrupted" if damage == "missing manifest" else "damaged") in said[0]


def test_what_is_left_of_a_half_written_save_is_ignored_and_cleared_away(tmp_path, state):
    save_all(tmp_path, state, [10])
    shutil.copytree(tmp_path / "10", tmp_path / "20.orbax-checkpoint-tmp")
    shutil.copytree(tmp_path / "10", tmp_path / "20.orbax-checkpoint-tmp-1234")
    (tmp_path / "manifest-20.partial").write_text("{")
    restored, said = restore(tmp_path, state)
    assert restored.step == 10 and said == []
    assert save_all(tmp_path, state, [20]) == [10, 20]
    assert not list(tmp_path.glob("*tmp*"))


def test_a_damaged_best_gives_the_newest(tmp_path, state):
    save_all(tmp_path, state, [10, 20, 30], best=[10])
    DAMAGES["flipped byte"](tmp_path, 10)
    restored, said = restore(tmp_path, state, best=True)
    assert restored.step == 30 and "Checkpoint 10" in said[0]


def test_none_good_is_an_error_and_nothing_is_touched(tmp_path, state):
    save_all(tmp_path, state, [10, 20])
    DAMAGES["flipped byte"](tmp_path, 20)
    DAMAGES["truncated file"](tmp_path, 10)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"None of the 2 checkpoints in .* can be read\. Move the folder away") as error:
        restore(tmp_path, state)
    assert str(tmp_path) in str(error.value)
    assert contents(tmp_path) == before


def test_a_save_that_was_never_sealed_is_no_checkpoint(tmp_path, state):
    save_all(tmp_path, state, [10])
    DAMAGES["missing manifest"](tmp_path, 10)
    restored, said = restore(tmp_path, state)
    assert restored is None and "interrupted while it was written" in said[0]
    assert save_all(tmp_path, state, [5, 15]) == [5, 15]


@pytest.mark.parametrize("damage", ["flipped byte", "missing folder", "missing manifest", "empty manifest"])
def test_training_goes_on_after_falling_back(tmp_path, state, bits, damage):
    save_all(tmp_path, state, [10, 20, 30], best=[30])
    DAMAGES[damage](tmp_path, 30)
    assert restore(tmp_path, state)[0].step == 20
    other = state.replace(key=jax.random.key(99))
    assert save_all(tmp_path, other, [25]) == [20, 25]  # 30 would come from a course that was given up
    assert not (tmp_path / "30").exists()
    assert save_all(tmp_path, other, [30]) == [25, 30]
    restored, said = restore(tmp_path, state)
    assert restored.step == 30 and said == [] and bits(restored.state) == bits(at(other, 30))


def test_a_step_saved_again_is_the_new_one(tmp_path, state, bits):
    save_all(tmp_path, state, [10])
    save_all(tmp_path, state.replace(key=jax.random.key(99)), [10])
    assert bits(restore(tmp_path, state)[0].state.key) == bits(jax.random.key(99))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            lambda: make_state(features=5),
            r"\.params\['first'\]\['kernel'\]: wanted float32\[4, 5\], saved float32\[4, 3\]",
        ),
        (lambda: make_state("sgd"), "wanted nothing, saved float32"),
        (lambda: make_state().replace(ema=None), r".ema\['batch_stats'\].*: wanted nothing, saved float32"),
    ],
)
def test_another_model_is_refused_with_what_differs(tmp_path, state, other, words):
    save_all(tmp_path, state, [10])
    before = contents(tmp_path)
    with pytest.raises(
        UserError, match=r"belongs to another model or optimiser; \d+ entries differ:\n(.*\n)*.*" + words
    ):
        restore(tmp_path, other())
    assert contents(tmp_path) == before


def test_another_dtype_is_refused(tmp_path, state):
    save_all(tmp_path, state, [10])
    kernel = lambda p: p.astype(jnp.bfloat16) if p.ndim == 2 else p
    with pytest.raises(UserError, match=r"wanted bfloat16\[4, 3\], saved float32\[4, 3\]"):
        restore(tmp_path, state.replace(params=jax.tree.map(kernel, state.params)))


def test_a_full_disk_is_noticed_before_anything_is_deleted(tmp_path, state, monkeypatch):
    save_all(tmp_path, state, [10, 20])
    before = contents(tmp_path)
    usage = collections.namedtuple("usage", "total used free")
    with Checkpoints(tmp_path) as checkpoints:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 90, 10))
        with pytest.raises(UserError, match=r"disk of .* is full: .* MB, 0 MB are free\. Free some space"):
            checkpoints.save(at(state, 15), {})
        assert checkpoints.steps() == [10, 20]
    assert contents(tmp_path) == before


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_as_tensorstore_says(*_, **__):
    raise ValueError("UNKNOWN: Error writing file [OS error 28: ENOSPC No space left on device]")


@pytest.mark.parametrize("error", [full, full_as_tensorstore_says])
@pytest.mark.parametrize("place", ["seal", "write", "save"])
def test_a_disk_that_fills_up_while_writing(tmp_path, state, monkeypatch, error, place, bits):
    save_all(tmp_path, state, [10, 20])
    checkpoints = Checkpoints(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(UserError, match="is full"):
        if place == "seal":
            patch.setattr("zoo.train.checkpoint._write_atomically", error)
        elif place == "write":
            patch.setattr(checkpoints._manager, "wait_until_finished", error)
        else:
            patch.setattr(checkpoints._manager, "save", error)
        checkpoints.save(at(state, 30), {})
        checkpoints.wait()
    # There is space again: the same object goes on.
    assert checkpoints.restore(state).step == 20
    assert bits(checkpoints.restore(state).state) == bits(at(state, 20))
    checkpoints.save(at(state, 30), {})
    assert checkpoints.steps() == [20, 30]
    checkpoints.close()


def test_saving_is_in_the_background_and_the_state_may_be_donated(tmp_path, bits, monkeypatch):
    def make():
        w = jnp.arange(1 << 20, dtype=jnp.float32)
        return State(jnp.asarray(3, jnp.int32), {"w": w}, {}, (), jax.random.key(0))

    # Two of them: the bytes compared are a view, and JAX donates nothing of which there is one. (It may also find
    # Orbax's; then it copies. Which of the two happens is a matter of timing.)
    state, expected = make(), bits(make())
    add = jax.jit(lambda w: w + 1, donate_argnums=0)
    sealed = []
    original = Checkpoints._seal
    monkeypatch.setattr(Checkpoints, "_seal", lambda *args: (original(*args), sealed.append(True))[0])
    with Checkpoints(tmp_path) as checkpoints, jax.debug_nans(False):  # JAX donates nothing while it looks for NaNs
        checkpoints.save(state, {})
        at_return = list(sealed)
        moved = state.params["w"]
        for _ in range(5):
            moved = add(moved)
        checkpoints.wait()
        assert at_return == [] and sealed == [True]
        template = state.replace(params={"w": moved})
        assert bits(checkpoints.restore(template).state) == expected
    np.testing.assert_array_equal(moved, np.arange(1 << 20) + 5.0)
