"""Rules of the house that no module can keep alone: who imports whom, who touches files, what is documented."""

import ast
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import zoo
import zoo.augment

ROOT = Path(__file__).parent.parent
FILES = {folder: sorted((ROOT / folder).rglob("*.py")) for folder in ("zoo", "datasets", "experiments")}
EVERY = [path for files in FILES.values() for path in files]

LIBRARY_ONLY = ("zoo_datasets", "zoo_experiments", "datasets", "experiments")
NO_MODELS = (
    "zoo.models",
    "zoo.registry",
    "zoo.create",
    "zoo.card",
    "zoo.names",
    "zoo.options",
    "zoo.parameters",
    "zoo",
)

# Folder or file → what nothing in it may import. "zoo" alone forbids `import zoo`, which would give `zoo.create`.
FORBIDDEN = {
    "zoo": (*LIBRARY_ONLY, "torch", "tensorflow", "tensorflow_datasets", "grain", "matplotlib", "tyro"),
    "zoo/errors.py": ("zoo", "zoo.*", "jax", "flax"),
    "zoo/layers": ("zoo", "zoo.models", "zoo.registry", "zoo.train", "zoo.explain", "zoo.augment", "zoo.taps"),
    "zoo/models": ("zoo", "zoo.registry", "zoo.train", "zoo.explain", "zoo.augment", "zoo.taps"),
    "zoo/registry.py": ("zoo", "zoo.train", "zoo.explain", "zoo.augment", "zoo.taps"),
    "zoo/train": (*NO_MODELS, "zoo.explain"),
    "zoo/explain": (*NO_MODELS, "zoo.train"),
    "zoo/augment.py": (*NO_MODELS, "zoo.train", "zoo.explain"),
    "zoo/footprint.py": (*NO_MODELS, "zoo.train", "zoo.explain"),
    "zoo/taps.py": (*NO_MODELS, "zoo.train", "zoo.explain"),
    "datasets": (
        *("zoo", "zoo.*", "zoo_experiments", "datasets", "experiments"),
        *("jax", "jaxlib", "flax", "optax", "orbax", "jraph", "torch", "tensorflow"),
    ),
    "experiments": ("datasets", "experiments"),
}
# torch_file.py opens nothing: it is given an open file, and its `load` is the unpickler's.
MAY_TOUCH_FILES = {"zoo/train/checkpoint.py", "zoo/train/loop.py", "zoo/weights.py", "zoo/torch_file.py"}
FILE_CALLS = {
    *("open", "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "makedirs", "unlink", "rmtree", "touch"),
    *("save", "savez", "savez_compressed", "load", "loadtxt", "savetxt", "tofile", "fromfile", "memmap", "symlink_to"),
}


def relative(path):
    return path.relative_to(ROOT).as_posix()


def imports(source):
    """Every module that a source imports, wherever in it: `from zoo import taps` is an import of `zoo.taps`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def breaches(source, forbidden):
    def hit(name, rule):
        if rule == "zoo":
            return name == "zoo"
        rule = rule.removesuffix(".*")
        return name == rule or name.startswith(f"{rule}.")

    return [name for name in imports(source) if any(hit(name, rule) for rule in forbidden)]


@pytest.mark.parametrize("place", FORBIDDEN)
def test_imports_go_one_way(place):
    files = [path for path in EVERY if relative(path) == place or relative(path).startswith(f"{place}/")]
    assert files, f"{place} is gone: this rule holds nothing"
    found = {relative(path): breaches(path.read_text(), FORBIDDEN[place]) for path in files}
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("import zoo_datasets.loading", "zoo"),
        ("def f():\n    from zoo.models import resnet", "zoo/layers"),
        ("from zoo import registry", "zoo/train"),
        ("import zoo", "zoo/explain"),
        ("from zoo import create", "zoo/taps.py"),
        ("from zoo.errors import UserError", "datasets"),
        ("import jax.numpy as jnp", "datasets"),
        ("from datasets.loading import sources", "experiments"),
    ],
)
def test_a_breach_would_be_found(source, place):
    assert breaches(source, FORBIDDEN[place])


def file_calls(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
            if name in FILE_CALLS:
                yield f"line {node.lineno}: {name}"


def test_the_library_touches_no_files():
    found = {relative(path): list(file_calls(path.read_text())) for path in FILES["zoo"]}
    assert found["zoo/train/checkpoint.py"], "the search finds nothing where there is something"
    assert {path for path, calls in found.items() if calls} <= MAY_TOUCH_FILES, found


PROBE = """
import json, sys
import jax, flax.linen
before = set(sys.modules)
import {module}
from jax._src import xla_bridge
names = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(json.dumps({{"new": sorted(names), "all": sorted(sys.modules), "backends": list(xla_bridge._backends)}}))
"""
EXTRAS = {
    *("rich", "tyro", "matplotlib", "jinja2", "tensorboardX", "tensorflow", "tensorflow_datasets", "grain", "PIL"),
    *("array_record", "h5py", "astropy", "torch", "chex", "sklearn", "zoo_datasets", "zoo_experiments"),
}


@pytest.mark.parametrize(
    ("module", "not_yet"),
    [("zoo", {"orbax", "optax", "jraph"}), ("zoo.train, zoo.explain, zoo.augment, zoo.taps, zoo.layers", set())],
    ids=["zoo", "everything"],
)
def test_importing_needs_the_core_only_and_does_no_work(module, not_yet):
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(module=module)], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert "zoo" in loaded["new"]
    # Flax itself loads rich where it is there, hence only what we add is judged.
    assert not set(loaded["new"]) & (EXTRAS | not_yet)
    assert loaded["backends"] == [], "a JAX backend was started: something was computed at import"
    if module == "zoo":
        assert not [name for name in loaded["all"] if name.startswith(("zoo.train", "zoo.explain", "orbax"))]


@pytest.mark.parametrize("path", EVERY, ids=relative)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text())), f"{relative(path)} has no docstring"


ARCHITECTURES = [
    path for path in FILES["zoo"] if path.parent.name == "models" and path.stem not in ("__init__", "card")
]


@pytest.mark.parametrize("path", ARCHITECTURES, ids=relative)
def test_every_model_file_links_its_paper(path):
    assert "https://" in ast.get_docstring(ast.parse(path.read_text()))


def public_modules():
    yield "zoo", zoo
    for info in pkgutil.walk_packages(zoo.__path__, "zoo."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            yield info.name, importlib.import_module(info.name)


def public_functions():
    """Public functions of zoo: what `__all__` lists, or what a module without it defines without an underscore."""
    found = {}
    for name, module in public_modules():
        listed = getattr(module, "__all__", None)
        for attribute in listed or [n for n in vars(module) if not n.startswith("_")]:
            value = getattr(module, attribute)
            if not inspect.isfunction(value):
                continue
            # What JAX made for us (an initialiser) is documented there.
            if value.__module__ == name or (listed and value.__module__.startswith("zoo.")):
                found[f"{value.__module__}.{value.__name__}"] = value
    return found


PUBLIC = public_functions()


def test_everything_in_all_exists():
    for name, module in public_modules():
        listed = getattr(module, "__all__", [])
        assert len(set(listed)) == len(listed), name
        assert [n for n in listed if not hasattr(module, n)] == [], name


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_functions_are_documented_and_annotated(name):
    function = PUBLIC[name]
    assert inspect.getdoc(function), f"{name} has no docstring"
    signature = inspect.signature(function)
    bare = [p.name for p in signature.parameters.values() if p.annotation is inspect.Parameter.empty]
    assert not bare, f"{name}: no annotation of {bare}"
    assert signature.return_annotation is not inspect.Signature.empty, f"{name}: no annotation of what it returns"


RANDOM = sorted(
    name
    for name, function in PUBLIC.items()
    if name.startswith("zoo.augment.") and "key" in inspect.signature(function).parameters
)


def test_there_are_random_augmentations():
    assert "zoo.augment.random_d4" in RANDOM
    defined = {f"zoo.augment.{n}" for n in vars(zoo.augment) if n.startswith("random_")}
    assert defined <= set(RANDOM), "a random function without a key"


@pytest.mark.parametrize("name", RANDOM)
def test_the_key_comes_first(name):
    assert next(iter(inspect.signature(PUBLIC[name]).parameters)) == "key"
