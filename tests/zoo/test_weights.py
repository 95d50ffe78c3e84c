"""Files of weights: formats told by their bytes, exact round trips, and refusals that lose nothing."""

import json
import subprocess
import sys

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import zoo
from zoo import weights
from zoo.weights import WeightsError, load, read, read_card, save

TENSORS = {
    "stem.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "stem.count": np.array(3, np.int64),
    "head": np.array([1.5, -2.0], np.float16),
}


def refusal(function, *args, error=WeightsError, **kwargs):
    with pytest.raises(error) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def same(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert np.array_equal(found[name], array)


# The ending says nothing: every file is called the same.
def test_npz_is_read(tmp_path):
    np.savez(tmp_path / "file.npz", **TENSORS)
    (tmp_path / "file.npz").rename(tmp_path / "file")
    same(read(tmp_path / "file"), TENSORS)


def test_safetensors_is_read(tmp_path):
    safetensors.numpy.save_file(TENSORS, tmp_path / "file")
    same(read(tmp_path / "file"), TENSORS)


def test_hdf5_is_read(tmp_path):
    with h5py.File(tmp_path / "file", "w") as file:
        file["conv/conv/kernel:0"] = TENSORS["stem.weight"]
        file["conv/names"] = np.array([b"text"])
        file["top"] = TENSORS["head"]
    same(read(tmp_path / "file"), {"conv/conv/kernel:0": TENSORS["stem.weight"], "top": TENSORS["head"]})
    same(read(tmp_path / "file", entry="conv"), {"conv/kernel:0": TENSORS["stem.weight"]})
    assert "no group 'model'; the file holds conv, top" in refusal(read, tmp_path / "file", entry="model")


def test_files_that_hold_no_weights_are_refused(tmp_path):
    path = tmp_path / "file"
    assert "no file" in refusal(read, path, error=FileNotFoundError)
    for content in (b"", b"x", b"name,value\n", b"\x80\x04.", b"\x00" * 100):
        path.write_bytes(content)
        assert "neither a PyTorch, safetensors, .npz nor HDF5 file" in refusal(read, path)
        assert str(path) in refusal(read, path)
    np.savez(path.with_suffix(".npz"), x=np.array([{"a": 1}], object), allow_pickle=True)
    assert "allow_pickle=False" in refusal(read, path.with_suffix(".npz"))
    np.savez(path.with_suffix(".npz"), **TENSORS)
    assert "entry='model' is for PyTorch and HDF5 files" in refusal(read, path.with_suffix(".npz"), entry="model")


@pytest.mark.parametrize("kind", ["npz", "safetensors", "hdf5"])
def test_files_cut_short_are_refused(kind, tmp_path):
    path = tmp_path / "file.npz"
    large = {"x": np.arange(1000, dtype=np.float32)}
    if kind == "npz":
        np.savez(path, **large)
    elif kind == "safetensors":
        safetensors.numpy.save_file(large, path)
    else:
        with h5py.File(path, "w") as file:
            file["x"] = large["x"]
    content = path.read_bytes()
    for length in (30, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert str(path) in refusal(read, path)


@pytest.fixture
def resnet(randomise, key):
    """A tiny network whose averages and parameters are of two dtypes: model, options, random variables."""
    options = {**zoo.card("resnet18").tiny, "param_dtype": "float32"}
    model = zoo.create("resnet18", **options)
    shapes = jax.eval_shape(model.init, key, jax.ShapeDtypeStruct((1, 8, 8, 2), jnp.float32))
    return model, options, randomise(1, shapes)


def exactly(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_round_trip_is_exact(resnet, tmp_path):
    model, options, variables = resnet
    path = tmp_path / "new" / "resnet.safetensors"
    card_path = save(path, variables, name="resnet18", options=options, notes={"accuracy": 0.86})
    assert card_path == tmp_path / "new" / "resnet.json"
    assert sorted(p.name for p in path.parent.iterdir()) == ["resnet.json", "resnet.safetensors"]
    card = read_card(path)
    assert (card["name"], card["options"], card["notes"]) == ("resnet18", options, {"accuracy": 0.86})
    assert set(card["versions"]) == {"zoo", "jax", "flax", "numpy"}
    again = zoo.create(card["name"], **card["options"])
    assert again == model
    shapes = jax.eval_shape(again.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 8, 8, 2), jnp.float32))
    for template in (variables, shapes):
        exactly(load(path, template), variables)
    # Anyone's tools read the file, without the card too.
    names = set(safetensors.numpy.load_file(path))
    assert "params/stage1_block0/conv1/kernel" in names
    assert names == set(read(path))


def test_every_dtype_and_every_order_of_memory_comes_back(tmp_path, x64):
    base = np.arange(24).reshape(2, 3, 4)
    dtypes = ("bfloat16", "float16", "float32", "float64", "int8", "int32", "int64", "uint8", "uint32", "bool")
    tree = {name: {"plain": jnp.asarray(base).astype(name)} for name in dtypes}
    # safetensors writes such memory in the wrong order.
    tree["strange"] = {"turned": base.transpose(2, 0, 1), "every_other": base[:, ::2], "scalar": np.float32(2.0)}
    path = tmp_path / "a.safetensors"
    save(path, tree, name="any")
    exactly(load(path, tree), tree)


def test_saving_again_replaces(resnet, tmp_path):
    _, _, variables = resnet
    path = tmp_path / "a.safetensors"
    save(path, variables, name="resnet18")
    more = jax.tree.map(lambda leaf: leaf + 1, variables)
    save(path, more, name="resnet18")
    exactly(load(path, variables), more)


def test_a_failed_saving_leaves_the_old_files(resnet, tmp_path, monkeypatch):
    _, _, variables = resnet
    path = tmp_path / "a.safetensors"
    save(path, variables, name="resnet18")
    monkeypatch.setattr(weights.os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save(path, jax.tree.map(lambda leaf: leaf + 1, variables), name="resnet18")
    exactly(load(path, variables), variables)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.safetensors"]


def test_another_tree_is_refused_with_all_that_differs(resnet, tmp_path):
    _, _, variables = resnet
    path = tmp_path / "a.safetensors"
    save(path, variables, name="resnet18", options={"width": 4})
    params = dict(variables["params"])
    head = params.pop("head")
    params["top"] = {"bias": head["bias"]}
    params["stem"] = {"kernel": params["stem"]["kernel"].astype(jnp.bfloat16)}
    params["stem_norm"] = {name: jnp.zeros(5) for name in ("scale", "bias")}
    message = refusal(load, path, {**variables, "params": params})
    assert "holds weights of resnet18 with options {'width': 4}" in message
    assert "nothing was loaded. 6 names differ" in message
    assert {line.strip() for line in message.splitlines()[1:]} == {
        "missing: params/top/bias float32[3]",
        "unexpected: params/head/bias float32[3]",
        "unexpected: params/head/kernel float32[8, 3]",
        "other shape or dtype: params/stem/kernel is float32[3, 3, 2, 4], wanted bfloat16[3, 3, 2, 4]",
        "other shape or dtype: params/stem_norm/bias is float32[4], wanted float32[5]",
        "other shape or dtype: params/stem_norm/scale is float32[4], wanted float32[5]",
    }


def test_float64_is_not_halved_in_silence(tmp_path):
    tree = {"params": {"x": np.ones(3)}}
    save(tmp_path / "a.safetensors", tree, name="any")
    assert "params/x is float64[3], which needs JAX_ENABLE_X64=1" in refusal(load, tmp_path / "a.safetensors", tree)


def test_exchanged_or_damaged_files_are_refused(resnet, tmp_path):
    _, _, variables = resnet
    path, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save(path, variables, name="resnet18")
    save(other, jax.tree.map(lambda leaf: leaf + 1, variables), name="resnet18")
    content = path.read_bytes()
    for wrong in (other.read_bytes(), content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(wrong)
        message = refusal(load, path, variables)
        assert "not the file that its card was written for" in message
        assert read_card(path)["sha256"] in message
    path.unlink()
    assert "no file" in refusal(load, path, variables, error=FileNotFoundError)
    path.write_bytes(content)
    card = path.with_suffix(".json")
    for wrong in ("{", "[]", "{}", json.dumps({"name": "resnet18"})):
        card.write_text(wrong)
        assert str(card) in refusal(load, path, variables)
    card.unlink()
    assert "needs its card a.json beside it" in refusal(load, path, variables, error=FileNotFoundError)


@pytest.mark.parametrize(
    ("tree", "options", "expected"),
    [
        ({"x": np.ones(2)}, {"dtype": jnp.float32}, "what JSON can hold"),
        ({"x": np.ones(2)}, {"stages": {1: 2}}, "would not come back as it is"),
        ({"x": np.ones(2, complex)}, {}, "x complex128[2]"),
        ({"x/y": np.ones(2)}, {}, 'must not hold "/"'),
    ],
)
def test_what_would_not_come_back_is_not_saved(tree, options, expected, tmp_path):
    path = tmp_path / "a.safetensors"
    assert expected in refusal(save, path, tree, name="any", options=options)
    assert list(tmp_path.iterdir()) == []


def test_the_ending_must_be_safetensors(tmp_path):
    for function in (lambda path: save(path, {}, name="any"), lambda path: load(path, {}), read_card):
        assert "must end in .safetensors, got 'a.npz'" in refusal(function, tmp_path / "a.npz")


WITHOUT = """
import sys
sys.modules["{package}"] = None
from zoo import weights
try:
    {call}
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("h5py", "weights.read('file.h5')"),
        ("safetensors", "weights.read('file.safetensors')"),
        ("safetensors", "weights.save('new.safetensors', {}, name='any')"),
    ],
)
def test_a_missing_extra_is_named(package, call, tmp_path):
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["x"] = np.ones(2)
    safetensors.numpy.save_file({"x": np.ones(2)}, tmp_path / "file.safetensors")
    code = WITHOUT.format(package=package, call=call)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"needs the package {package}" in done.stdout
    assert 'pip install "symmetry-zoo[weights]"' in done.stdout


def test_importing_loads_neither_extra():
    code = "import sys, zoo.weights; print({'h5py', 'safetensors', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "set()", done.stderr
