"""The training loop: batches in, state out; progress, log, evaluation, checkpoints, resume.

Everything that can be pure is elsewhere (`zoo.train.step`); this file holds what cannot: time, files and signals.
"""

import csv
import io
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.errors import UserError
from zoo.train.checkpoint import Checkpoints
from zoo.train.parallel import Parallel
from zoo.train.progress import COLUMNS, Progress
from zoo.train.state import State

# Signature: number of the first batch wanted → iterator of batches (dicts of host arrays with equal first axes).
BatchesFn = Callable[[int], Iterable[Mapping[str, np.ndarray]]]


class Interrupted(Exception):
    """Training was stopped by a signal after its state was saved; the same call goes on from there."""

    def __init__(self, signal_number: int, step: int, saved: bool) -> None:
        self.signal_number, self.step, self.saved = signal_number, step, saved
        where = f"saved at step {step}; the same command goes on from there" if saved else "nothing was saved"
        super().__init__(f"Stopped by {signal.Signals(signal_number).name}: {where}.")


class Log:
    """Rows of numbers in `metrics.csv` and as TensorBoard events, in one folder.

    Args:
        folder: made when it does not exist.
        step: rows after this step are dropped, because training starts again from it.
        tensorboard: also write events (needs `tensorboardX`).
    """

    def __init__(self, folder: str | os.PathLike, *, step: int = 0, tensorboard: bool = True) -> None:
        self.path = Path(folder) / "metrics.csv"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = [row for row in read_log(self.path) if row["step"] <= step]
        self._rewrite()
        self._events = None
        if tensorboard:
            from tensorboardX import SummaryWriter

            # Two files of the same second would otherwise have the same name.
            self._events = SummaryWriter(
                str(self.path.parent / "tensorboard"), purge_step=step + 1, filename_suffix=f".{step}"
            )

    def write(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """Append the scalar entries of `values`."""
        scalars = {k: float(v) for k, v in values.items() if np.ndim(v) == 0 and isinstance(v, float | int | np.number)}
        self.rows.append({"step": step, "split": split, **scalars})
        self._rewrite()
        if self._events is not None:
            for name, value in scalars.items():
                self._events.add_scalar(f"{split}/{name}", value, step)
            self._events.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._events is not None:
            self._events.close()

    def _rewrite(self) -> None:
        # A few hundred rows at most: writing all of them anew keeps the header right and the file whole.
        columns = list(dict.fromkeys(name for row in self.rows for name in row)) or ["step", "split"]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        partial = self.path.with_suffix(".partial")
        partial.write_text(text.getvalue())
        os.replace(partial, self.path)


def read_log(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Rows of a `metrics.csv`: `step` int, `split` text, the rest float; empty cells left out."""
    if not Path(path).exists():
        return []
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    read = {"step": lambda v: int(float(v)), "split": str}
    return [{k: read.get(k, float)(v) for k, v in row.items() if v not in ("", None)} for row in rows]


def fit(
    step: Parallel,
    state: State,
    batches: BatchesFn,
    *,
    steps: int,
    report: Callable[[Any], dict[str, Any]],
    every: int | None = None,
    evaluate: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None,
    monitor: str = "accuracy",
    checkpoints: Checkpoints | None = None,
    log: Log | str | os.PathLike | None = None,
    batches_per_epoch: float | None = None,
    progress: bool = True,
) -> State:
    """Train up to step `steps`; goes on from the newest good checkpoint when there is one.

    Args:
        step: from `parallelise`.
        state: as made by `create_state`, on one device; it stays valid.
        batches: called once with the number of batches already consumed.
        steps: number of steps in all, those before a resume included.
        report: merged sums → numbers, e.g. `functools.partial(finalise, task)`.
        every: steps between rows of the log, evaluations and checkpoints; default a tenth of the training.
        evaluate: variables → numbers on validation data.
        monitor: entry of the evaluation by which the best checkpoint is chosen (larger is better; entries called
            `loss` or `nll`, smaller).
        checkpoints: where to save; saved at every evaluation, at the end and on SIGTERM or SIGINT.
        log: a `Log`, or a folder in which one is opened after the resume point is known.
        batches_per_epoch: adds the column `epoch` to the log.
        progress: draw a bar or print lines.

    Returns:
        The final state, on one device.

    Raises:
        Interrupted: after SIGTERM or SIGINT, once the state is saved.
        UserError: the loss is no longer finite, or the batches ran out; what was saved stays.
    """
    if steps < 1:
        raise UserError(f"steps must be at least 1, got {steps}.")
    every = every or max(1, steps // 10)
    sign = -1 if monitor in ("loss", "nll") else 1
    record: dict[str, Any] = {"batches": 0, "best": None, "best_step": None, "seconds": 0.0}
    if checkpoints is not None and (restored := checkpoints.restore(state)) is not None:
        state, record = restored.state, restored.record
    start = int(state.step)
    opened = isinstance(log, str | os.PathLike)
    if opened:
        log = Log(log, step=start)
    placed = step.place(state)
    total, seen, add = None, 0.0, jax.jit(lambda a, b: jax.tree.map(jnp.add, a, b))
    clock = time.perf_counter
    begun = shown = mark = clock()
    earlier, waited, compiled = record["seconds"], 0.0, False
    with _Signals() as signals, Progress(steps, done=start, enabled=progress) as bar:
        if start:
            bar.line(f"Resuming at step {start} of {steps}.")
        iterator: Iterator = iter(batches(record["batches"]) if start < steps else ())
        try:
            for now in range(start + 1, steps + 1):
                before = clock()
                try:
                    batch = next(iterator)
                except StopIteration:
                    raise UserError(
                        f"The data ended after {now - 1 - start} batches; {steps - start} were needed. Take data that "
                        "repeats, or fewer steps."
                    ) from None
                share = step.split(batch)
                waited += clock() - before
                if total is not None:
                    # One step in flight: the next batch is fetched while the last step runs, and memory stays bounded.
                    jax.block_until_ready(total)
                placed, sums = step(placed, share)
                total = sums if total is None else add(total, sums)
                seen += len(next(iter(batch.values())))
                if not compiled:
                    jax.block_until_ready(total)
                    bar.line(f"First step after {clock() - begun:.1f} s.")
                    compiled, mark, waited, seen = True, clock(), 0.0, 0.0
                rate, waiting = _speed(seen, waited, clock() - mark)
                if clock() - shown > 0.5:
                    bar.update(now, _finite(report(jax.device_get(total)), now), rate, waiting)
                    shown = clock()
                record["batches"] += 1
                due = now % every == 0 or now == steps
                if due:
                    record["seconds"] = earlier + clock() - begun
                    epoch = {} if batches_per_epoch is None else {"epoch": now / batches_per_epoch}
                    numbers = _finite(report(jax.device_get(total)), now)
                    rows = {"train": {**numbers, "examples_per_second": rate, "waiting": waiting}}
                    total = None
                    current = step.fetch(placed)
                    best = False
                    if evaluate is not None:
                        rows["validation"] = evaluate(current.averaged)
                        value = sign * _monitored(rows["validation"], monitor)
                        best = math.isfinite(value) and (record["best"] is None or value > record["best"])
                        if best:
                            record["best"], record["best_step"] = value, now
                    for split, values in rows.items():
                        if log is not None:
                            log.write(now, split, {**epoch, **values, "seconds": record["seconds"]})
                    bar.line(_summary(now, steps, rows))
                    if checkpoints is not None:
                        checkpoints.save(current, record, best=best)
                    # Evaluation is neither training nor waiting.
                    mark, waited, seen = clock(), 0.0, 0.0
                if signals.caught is not None:
                    if checkpoints is not None and not due:
                        record["seconds"] = earlier + clock() - begun
                        checkpoints.save(step.fetch(placed), record)
                    raise Interrupted(signals.caught, now, checkpoints is not None)
        finally:
            for closing in (getattr(iterator, "close", None), checkpoints and checkpoints.wait, opened and log.close):
                if closing:
                    closing()
    return step.fetch(placed)


class _Signals:
    """Remembers SIGTERM and SIGINT while the loop runs; a second SIGINT stops at once."""

    def __init__(self) -> None:
        self.caught: int | None = None
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._old[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _catch(self, number: int, _: FrameType | None) -> None:
        if self.caught is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.caught = number


def _speed(seen: float, waited: float, elapsed: float) -> tuple[float, float]:
    return (seen / elapsed, waited / elapsed) if elapsed > 0 else (0.0, 0.0)


def _finite(values: dict[str, Any], step: int) -> dict[str, Any]:
    if not math.isfinite(values.get("loss", 0.0)):
        raise UserError(
            f"The training loss is {values['loss']} at step {step}. Lower the learning rate, clip the gradient, or "
            "look for extreme values in the data; checkpoints saved before stay as they are."
        )
    return values


def _monitored(values: Mapping[str, Any], monitor: str) -> float:
    if monitor not in values:
        raise UserError(f"monitor={monitor!r} is not among the entries of the evaluation: {', '.join(sorted(values))}.")
    return values[monitor]


def _summary(step: int, steps: int, rows: Mapping[str, Mapping[str, Any]]) -> str:
    parts = [f"step {step}/{steps}"]
    for split, values in rows.items():
        shown = [f"{k} {values[k]:.3f}" for k in COLUMNS if k in values]
        parts.append(f"{split} " + " ".join(shown))
    train = rows["train"]
    parts.append(f"{train['examples_per_second']:,.0f} examples/s, waiting for data {train['waiting']:.1%}")
    return "  ".join(parts)
