"""Checkpoints that can be trusted: written in the background by Orbax, sealed by a SHA-256 manifest.

A checkpoint holds the training state (parameters, optimiser, statistics, key, step) and a small JSON record with the
position of the data iterator. Orbax restores flipped bytes without complaint and casts dtypes silently, so every step
gets a manifest of checksums and dtypes once it is written; a step without one was interrupted and does not count.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from zoo.errors import UserError

_BLOCK = 1 << 20


class Restored(NamedTuple):
    """A state, the JSON record saved with it, and its step."""

    state: Any
    record: dict[str, Any]
    step: int


class Checkpoints:
    """The checkpoints of one run in a folder: the two last and the best are kept.

    Two last ones, so that there is something to fall back on when the newest is damaged.

    Args:
        folder: made when it does not exist.
        say: receives one line of text when something is wrong with a checkpoint.
    """

    def __init__(self, folder: str | os.PathLike, *, say: Callable[[str], None] = print) -> None:
        self.folder = Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._say = say
        # Which steps are kept is decided below, after a step is sealed: Orbax would count unsealed ones.
        options = ocp.CheckpointManagerOptions(max_to_keep=None, create=True, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_names=("state", "record"))
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="seal")
        self._pending: Future | None = None

    def save(self, state: Any, record: Mapping[str, Any], *, best: bool = False) -> None:
        """Save in the background; returns as soon as the arrays are copied, which makes donating them safe.

        Args:
            state: pytree with an integer `step`, on one device or replicated.
            record: JSON-serialisable position of the data and what else belongs to the run.
            best: mark this step as the best so far.

        Raises:
            UserError: the disk is full; what was saved before is untouched.
        """
        self.wait()
        step = int(state.step)
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state) if hasattr(leaf, "nbytes"))
        self._check_space(needed)
        try:
            for later in [s for s in self._all_steps() if s >= step]:
                # Left by a course that was abandoned because they are damaged. They would count among the last two, and
                # saving an existing step writes nothing, without an error.
                self._delete(later)
            for remains in self.folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(remains, ignore_errors=True)
            args = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(dict(record)))
            self._manager.save(step, args=args)
        except (OSError, ValueError, RuntimeError) as error:
            self._explain(error, needed)
            raise
        self._pending = self._thread.submit(self._seal, step, _types(state), best, needed)

    def wait(self) -> None:
        """Wait until the last save is on disk and sealed; raises what went wrong in the background."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def close(self) -> None:
        """Wait for the last save and release Orbax's threads."""
        try:
            self.wait()
        finally:
            self._thread.shutdown(wait=True)
            self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def restore(self, template: Any, *, best: bool = False) -> Restored | None:
        """The newest good checkpoint, or the best one; `None` when nothing was saved.

        Damaged checkpoints are passed over, and said so.

        Args:
            template: a state with the shapes, dtypes and devices that are wanted.
            best: the step marked as best; the newest when none is marked.

        Raises:
            UserError: there are checkpoints but none is good, or they belong to another model.
        """
        self.wait()
        self._manager.reload()
        steps = self._all_steps()[::-1]
        sealed = [s for s in steps if self._manifest(s).exists()]
        for step in steps:
            if step not in sealed:
                self._say(f"Checkpoint {step} in {self.folder} was interrupted while it was written; it is not used.")
        if best:
            marked = [s for s in sealed if self._read_manifest(s).get("best")]
            sealed = marked + [s for s in sealed if s not in marked]
        for step in sealed:
            fault = self._fault(step)
            if fault is None:
                self._check_types(step, template)
                try:
                    return self._load(step, template)
                except (ValueError, OSError, KeyError) as error:
                    fault = str(error).splitlines()[0]
            self._say(f"Checkpoint {step} in {self.folder} is damaged ({fault}); trying the one before it.")
        if sealed:
            raise UserError(
                f"None of the {len(sealed)} checkpoints in {self.folder} can be read. Move the folder away to start "
                "the training again; nothing in it was changed."
            )
        return None

    def steps(self) -> list[int]:
        """Steps that are sealed, ascending."""
        self.wait()
        return self._sealed()

    def _all_steps(self) -> list[int]:
        """Steps of which there is a folder or a manifest, ascending."""
        manifests = [re.fullmatch(r"manifest-(\d+)\.json", path.name) for path in self.folder.iterdir()]
        return sorted({*self._manager.all_steps(), *(int(m[1]) for m in manifests if m)})

    def _sealed(self) -> list[int]:
        return [s for s in self._all_steps() if self._manifest(s).exists()]

    def _load(self, step: int, template: Any) -> Restored:
        # Restoring over a corrupt file may fail in many ways, each a plain Python exception.
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract), record=ocp.args.JsonRestore()),
        )
        return Restored(restored["state"], dict(restored["record"]), step)

    def _seal(self, step: int, types: dict[str, str], best: bool, needed: int) -> None:
        try:
            self._manager.wait_until_finished()
            manifest = {"step": step, "best": best, "types": types, "files": _checksums(self.folder / str(step))}
            text = json.dumps({**manifest, "sha256": _digest(manifest)}, indent=1)
            _write_atomically(self._manifest(step), text)
            self._prune()
        except (OSError, ValueError, RuntimeError) as error:
            self._explain(error, needed)
            raise

    def _prune(self) -> None:
        sealed = self._sealed()
        best = [s for s in sealed if self._read_manifest(s).get("best")]
        # Steps without a seal are what is left of interrupted saves.
        for step in set(self._all_steps()) - set(sealed[-2:]) - set(best[-1:]):
            self._delete(step)

    def _delete(self, step: int) -> None:
        # The seal goes first: killed in between, the step counts as interrupted.
        self._manifest(step).unlink(missing_ok=True)
        if step in self._manager.all_steps():
            self._manager.delete(step)

    def _manifest(self, step: int) -> Path:
        return self.folder / f"manifest-{step}.json"

    def _read_manifest(self, step: int) -> dict[str, Any]:
        """The manifest of a step; empty when it is missing or not what was written."""
        try:
            manifest = json.loads(self._manifest(step).read_text())
            return manifest if manifest.pop("sha256") == _digest(manifest) else {}
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            return {}

    def _fault(self, step: int) -> str | None:
        """What is wrong with a step, `None` if its files are what the manifest says."""
        expected = self._read_manifest(step).get("files")
        if expected is None:
            return "its manifest cannot be read"
        found = _checksums(self.folder / str(step))
        for name in sorted(set(expected) | set(found)):
            if name not in found:
                return f"the file {name} is missing"
            # Orbax may add files of its own beside the ones it wrote at first; only those count.
            if name in expected and found[name] != expected[name]:
                return f"the file {name} has another checksum than when it was written"
        return None

    def _check_types(self, step: int, template: Any) -> None:
        expected, found = _types(template), self._read_manifest(step)["types"]
        differ = [k for k in {**expected, **found} if expected.get(k) != found.get(k)]
        differ.sort(key=lambda k: (not k.startswith(".params"), k))
        if differ:
            lines = [f"  {k}: wanted {expected.get(k, 'nothing')}, saved {found.get(k, 'nothing')}" for k in differ[:5]]
            raise UserError(
                f"The checkpoint in {self.folder} belongs to another model or optimiser; {len(differ)} entries "
                "differ:\n" + "\n".join(lines)
            )

    def _check_space(self, needed: int) -> None:
        if shutil.disk_usage(self.folder).free < 1.2 * needed:
            raise self._full(needed)

    def _explain(self, error: Exception, needed: int) -> None:
        # TensorStore reports a full disk as a ValueError with the system's text.
        if getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error):
            raise self._full(needed) from error

    def _full(self, needed: int) -> UserError:
        free = shutil.disk_usage(self.folder).free
        return UserError(
            f"The disk of {self.folder} is full: a checkpoint needs {1.2 * needed / 1e6:.0f} MB, {free / 1e6:.0f} MB "
            "are free. Free some space and run the same command again; it goes on from the last checkpoint."
        )


def _types(state: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _checksums(folder: Path) -> dict[str, str]:
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
            sums[path.relative_to(folder).as_posix()] = digest.hexdigest()
    return sums


def _write_atomically(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
