"""PyTorch files without PyTorch: written here opcode by opcode, by PyTorch itself, by an attacker, and damaged."""

import io
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.weights import WeightsError, read

MAGIC = 0x1950A86A20F9469CFC6C
START, STOP = b"\x80\x02", b"."


# The opcodes of pickle's protocol 2 that PyTorch writes; each function gives the bytes that push one value.
def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value):
    return b"J" + struct.pack("<i", value)


def row(*parts):
    return b"(" + b"".join(parts) + b"t"


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def call(function, *arguments):
    return function + row(*arguments) + b"R"


def mapping(entries):
    return b"}" + b"".join(text(key) + value + b"s" for key, value in entries.items())


def storage(key, kind, numel, view=b""):
    return row(text("storage"), name("torch", kind), text(key), text("cpu"), integer(numel), view) + b"Q"


def tensor(stored, offset, shape, stride, function="_rebuild_tensor_v2"):
    places = [integer(offset), row(*map(integer, shape)), row(*map(integer, stride))]
    hooks = call(name("collections", "OrderedDict"))
    return call(name("torch._utils", function), stored, *places, b"\x89", hooks)


def zipped(path, content, storages, root="archive/", extra=()):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{root}data.pkl", START + content + STOP)
        for key, data in storages.items():
            archive.writestr(f"{root}data/{key}", data)
        for member, data in extra:
            archive.writestr(root + member, data)
    return path


def legacy(path, content, storages, counts=None, *, first=MAGIC, version=1001, little=True):
    machine = {"protocol_version": 1001, "little_endian": little, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(value, protocol=2) for value in (first, version, machine)]
    parts += [START + content + STOP, pickle.dumps(list(storages), protocol=2)]
    for key, data in storages.items():
        count = counts[key] if counts else len(data) // 4
        parts += [struct.pack("<q", count), data]
    path.write_bytes(b"".join(parts))
    return path


WRITERS = pytest.mark.parametrize("write", [zipped, legacy])
VALUES = np.arange(12, dtype=np.float32)
STORED = storage("7", "FloatStorage", 12)


def refusal(path, **options):
    with pytest.raises(WeightsError) as caught:
        read(path, **options)
    assert str(path) in str(caught.value)
    return str(caught.value)


@WRITERS
def test_tensors_are_windows_on_storages(write, tmp_path):
    content = mapping(
        {
            "whole": tensor(STORED, 0, (3, 4), (4, 1)),
            "turned": tensor(STORED, 0, (4, 3), (1, 4)),
            "window": tensor(STORED, 5, (2, 2), (4, 1), "_rebuild_tensor"),
            "one": tensor(STORED, 11, (), ()),
            "none": tensor(STORED, 0, (0, 5), (5, 1)),
            "parameter": call(name("torch._utils", "_rebuild_parameter"), tensor(STORED, 2, (3,), (2,)), b"\x88", b"}"),
        }
    )
    found = read(write(tmp_path / "weights.pth", content, {"7": VALUES.tobytes()}))
    whole = VALUES.reshape(3, 4)
    expected = {
        "whole": whole,
        "turned": whole.T,
        "window": whole[1:, 1:3],
        "one": VALUES[11],
        "none": np.empty((0, 5)),
        "parameter": VALUES[[2, 4, 6]],
    }
    assert list(found) == list(expected)
    for key, array in expected.items():
        assert found[key].dtype == np.float32
        assert found[key].shape == array.shape
        assert np.array_equal(found[key], array), key
        assert found[key].flags.writeable


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("DoubleStorage", np.float64),
        ("HalfStorage", np.float16),
        ("BFloat16Storage", ml_dtypes.bfloat16),
        ("LongStorage", np.int64),
        ("IntStorage", np.int32),
        ("ShortStorage", np.int16),
        ("CharStorage", np.int8),
        ("ByteStorage", np.uint8),
        ("BoolStorage", np.bool_),
    ],
)
@WRITERS
def test_storages_have_their_dtype(write, kind, dtype, tmp_path):
    values = np.array([0, 1, 1, 0, 1]).astype(dtype)
    content = mapping({"x": tensor(storage("0", kind, 5), 0, (5,), (1,))})
    options = {"counts": {"0": 5}} if write is legacy else {}
    found = read(write(tmp_path / "weights.pth", content, {"0": values.tobytes()}, **options))
    assert found["x"].dtype == dtype
    assert np.array_equal(found["x"], values)


@WRITERS
def test_an_entry_of_a_checkpoint(write, tmp_path):
    inner = mapping({"x": tensor(STORED, 0, (12,), (1,))})
    path = write(tmp_path / "weights.pth", mapping({"epoch": integer(3), "model": inner}), {"7": VALUES.tobytes()})
    assert np.array_equal(read(path, entry="model")["x"], VALUES)
    assert "the file holds 'epoch' (int), 'model' (dict)" in refusal(path)
    assert 'entry="state_dict"' in refusal(path)
    assert "there is no entry 'state_dict'; the file holds 'epoch' (int)" in refusal(path, entry="state_dict")
    assert "the file holds int" in refusal(path, entry="epoch")


@WRITERS
def test_a_tensor_without_a_name_is_no_file_of_weights(write, tmp_path):
    path = write(tmp_path / "weights.pth", tensor(STORED, 0, (12,), (1,)), {"7": VALUES.tobytes()})
    assert "named tensors were expected, and the file holds Tensor" in refusal(path)


def attacks(mark):
    """Pickles that would leave the file `mark`, or more, if they were executed."""
    script = f"open({str(mark)!r}, 'w').close()"
    return {
        "os.system": call(name("os", "system"), text(f"touch {mark}")),
        "builtins.eval": call(name("builtins", "eval"), text(script)),
        "builtins.exec": call(name("builtins", "exec"), text(script)),
        "builtins.getattr": call(name("builtins", "getattr"), name("collections", "OrderedDict"), text("mro")),
        "pathlib.Path": call(name("pathlib", "Path"), text("/")),
        "torch.load": call(name("torch", "load"), text("x")),
        "torch.FloatTensor": name("torch", "FloatTensor"),
        "collections.Counter": call(name("collections", "Counter")),
        "torch._utils._rebuild_wrapper": name("torch._utils", "_rebuild_wrapper"),
        # Protocol 4 looks dotted names up attribute by attribute.
        "collections.OrderedDict.fromkeys": b"\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93",
        # The oldest way to call a class, without a name on the stack.
        "subprocess.Popen": b"(" + text(f"touch {mark}") + b"isubprocess\nPopen\n",
    }


def test_the_attacks_are_live(tmp_path):
    mark = tmp_path / "mark"
    pickle.loads(START + attacks(mark)["builtins.exec"] + STOP)
    assert mark.exists()


@pytest.mark.parametrize("attack", attacks(""))
@WRITERS
def test_a_malicious_file_runs_nothing(write, attack, tmp_path):
    mark = tmp_path / "mark"
    code = attacks(mark)[attack]
    for place, content in enumerate([code, mapping({"x": code}), row(code)]):
        message = refusal(write(tmp_path / f"{place}.pth", content, {}))
        assert f"the file asks for {attack}, which tensors are not made of; nothing was run" in message
    assert not mark.exists()


@pytest.mark.parametrize("place", range(5))
def test_no_pickle_of_a_legacy_file_runs_anything(place, tmp_path):
    mark = tmp_path / "mark"
    pickles = [pickle.dumps(value, protocol=2) for value in (MAGIC, 1001, {"little_endian": True}, {}, [])]
    attack = START + call(name("os", "system"), text(f"touch {mark}")) + STOP
    # The first pickle tells the format: whatever comes instead of it, the file is not read as one.
    pickles[place] = attack
    path = tmp_path / "weights.pth"
    path.write_bytes(b"".join(pickles))
    assert ("os.system" if place else "neither a PyTorch") in refusal(path)
    assert not mark.exists()


def test_a_function_of_ours_cannot_be_changed_from_a_file(tmp_path):
    # BUILD sets attributes of what is on the stack; what it finds there takes none.
    for target in (name("torch._utils", "_rebuild_tensor_v2"), name("torch", "FloatStorage"), STORED):
        state = row(b"N", mapping({"__defaults__": row(integer(1))}))
        path = zipped(tmp_path / "weights.pth", target + state + b"b", {"7": VALUES.tobytes()})
        assert "damaged" in refusal(path)


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (13,), (1,)),
        (1, (12,), (1,)),
        (12, (1,), (1,)),
        (0, (3, 4), (5, 1)),
        (-1, (3,), (1,)),
        (11, (3,), (-1,)),
        (0, (-3,), (1,)),
        (0, (1000, 1000), (0, 0)),
        (0, (13,), (0,)),
    ],
)
@WRITERS
def test_tensors_outside_of_their_storage_are_refused(write, offset, shape, stride, tmp_path):
    path = write(
        tmp_path / "weights.pth", mapping({"x": tensor(STORED, offset, shape, stride)}), {"7": VALUES.tobytes()}
    )
    assert f"a tensor of shape {shape}" in refusal(path)
    assert "does not fit into its storage of 12 values" in refusal(path)


@pytest.mark.parametrize(
    "stored",
    [
        storage("7", "FloatStorage", 12, row(text("view"), integer(0), integer(3))),
        row(text("module"), name("torch", "FloatStorage"), text("7"), text("cpu"), integer(12)) + b"Q",
        row(text("storage"), text("float32"), text("7"), text("cpu"), integer(12)) + b"Q",
    ],
)
def test_storages_of_another_kind_are_refused(stored, tmp_path):
    path = zipped(tmp_path / "weights.pth", mapping({"x": tensor(stored, 0, (12,), (1,))}), {"7": VALUES.tobytes()})
    assert "something other than plain tensors" in refusal(path)


def test_a_storage_described_twice_is_refused(tmp_path):
    content = mapping(
        {
            "x": tensor(STORED, 0, (12,), (1,)),
            "y": tensor(storage("7", "DoubleStorage", 12), 0, (12,), (1,)),
        }
    )
    assert "storage 7 is described in two ways" in refusal(
        zipped(tmp_path / "weights.pth", content, {"7": VALUES.tobytes()})
    )


CONTENT = mapping({"x": tensor(STORED, 0, (3, 4), (4, 1))})


def test_sizes_that_disagree_are_refused(tmp_path):
    path, data = tmp_path / "weights.pth", VALUES.tobytes()
    assert "holds 44 bytes instead of 48" in refusal(zipped(path, CONTENT, {"7": data[:-4]}))
    assert "holds 52 bytes instead of 48" in refusal(zipped(path, CONTENT, {"7": data + data[:4]}))
    assert "archive/data/7" in refusal(zipped(path, CONTENT, {}))
    assert "storage 7 has another size than its tensors say" in refusal(legacy(path, CONTENT, {"7": data}, {"7": 11}))
    assert "holds 40 bytes instead of 48" in refusal(legacy(path, CONTENT, {"7": data[:-8]}, {"7": 12}))
    assert "damaged" in refusal(legacy(path, CONTENT, {"8": data}))
    assert "damaged" in refusal(legacy(path, CONTENT, {}))


def test_other_machines_and_versions_are_refused(tmp_path):
    path, data = tmp_path / "weights.pth", {"7": VALUES.tobytes()}
    assert "big-endian" in refusal(zipped(path, CONTENT, data, extra=[("byteorder", b"big")]))
    assert read(zipped(path, CONTENT, data, extra=[("byteorder", b"little")]))["x"].shape == (3, 4)
    assert "little-endian" in refusal(legacy(path, CONTENT, data, little=False))
    assert "version 1002" in refusal(legacy(path, CONTENT, data, version=1002))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), write=st.sampled_from([zipped, legacy]))
def test_damaged_files_are_refused_or_read_but_nothing_else(data, write, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "weights.pth"
    content = bytearray(write(path, CONTENT, {"7": VALUES.tobytes()}).read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        found = read(path)
    except WeightsError as error:
        assert str(path) in str(error)
    else:
        assert all(isinstance(array, np.ndarray) for array in found.values())


def test_a_pickle_deeper_than_the_stack_is_refused(tmp_path):
    deep = b"(" * 100_000 + b"t" * 100_000
    refusal(zipped(tmp_path / "weights.pth", mapping({"x": deep}), {}))


@pytest.mark.parity
@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_reads_what_pytorch_writes(zip_format, tmp_path):
    import torch

    torch.manual_seed(0)
    shared = torch.randn(4, 6)
    tensors = {
        "float": torch.randn(2, 3, 5),
        "double": torch.randn(7, dtype=torch.float64),
        "half": torch.randn(3).half(),
        "bfloat": torch.randn(3).bfloat16(),
        "long": torch.arange(-3, 4),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "flags": torch.tensor([True, False, True]),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "turned": shared.T,
        "window": shared[1:3, ::2],
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }
    path = tmp_path / "weights.pt"
    torch.save(tensors, path, _use_new_zipfile_serialization=zip_format)
    found = read(path)
    assert list(found) == list(tensors)
    for key, value in tensors.items():
        value = value.detach()
        expected = value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
        assert found[key].dtype == (ml_dtypes.bfloat16 if value.dtype == torch.bfloat16 else expected.dtype)
        assert found[key].shape == expected.shape
        assert np.array_equal(found[key].astype(expected.dtype), expected), key


@pytest.mark.parity
@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_reads_the_state_of_a_network_in_a_checkpoint(zip_format, tmp_path):
    import torch

    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Linear(4, 5))
    path = tmp_path / "checkpoint.pt"
    torch.save(
        {"state_dict": net.state_dict(), "epoch": 3, "lr": 0.1, "names": ["a"]},
        path,
        _use_new_zipfile_serialization=zip_format,
    )
    found = read(path, entry="state_dict")
    assert {key: value.shape for key, value in found.items()} == {
        key: tuple(value.shape) for key, value in net.state_dict().items()
    }
    assert np.array_equal(found["0.weight"], net[0].weight.detach().numpy())
    # A whole network would need its class to be imported: refused, by name.
    torch.save(net, path, _use_new_zipfile_serialization=zip_format)
    assert "asks for torch.nn.modules" in refusal(path)


def test_bytes_that_only_look_like_pytorch_s(tmp_path):
    path = tmp_path / "weights.pth"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", b"")
        archive.writestr("b/data.pkl", b"")
    path.write_bytes(buffer.getvalue())
    assert "neither PyTorch's nor NumPy's" in refusal(path)
