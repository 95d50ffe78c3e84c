"""`zoo train`: from an experiment to a run folder with checkpoints, log, results and report."""

import functools
import time
from pathlib import Path
from typing import Literal

import jax

from zoo import train
from zoo.errors import UserError
from zoo_experiments.verbs.checks import require_at_least
from zoo_experiments.verbs.evaluating import evaluate_run
from zoo_experiments.verbs.experiment import Experiment, Setup, setup
from zoo_experiments.verbs.explaining import check_layer
from zoo_experiments.verbs.runs import Run, start_run, warn


def train_experiment(
    name: str,
    experiment: Experiment,
    *,
    folder: Path,
    mode: Literal["jit", "pmap"] = "jit",
    devices: int = 0,
    progress: bool = True,
    command: str | None = None,
) -> Run:
    """Train, evaluate on validation and keep everything in `folder`; goes on where an earlier call was stopped.

    Args:
        name: name of the experiment.
        experiment: its settings.
        folder: run folder.
        mode: `jit`, or `pmap` for one program per device.
        devices: number of devices; 0 is one under `jit` and all under `pmap`.
        progress: draw a bar or print lines.
        command: the command line to be kept in the results.

    Raises:
        UserError: the settings, the data or the devices do not fit; nothing was written then.
    """
    begun = time.perf_counter()
    made = setup(experiment)
    if experiment.layer:
        check_layer(made, experiment.layer)
    parallel = train.parallelise(made.step(), mode=mode, devices=_devices(devices))
    _require_shares(made, mode, len(parallel.devices))
    run = start_run(folder, name, made)
    evaluation = made.evaluation()
    if progress:
        sizes = ", ".join(f"{len(source)} {split}" for split, source in made.data.items())
        kinds = {"points": "sets of points"}.get(made.field, f"{made.field}s")
        warn(f"{name}: {experiment.model} on {sizes} {kinds} {made.shape}, {made.steps} steps → {folder}")
        if made.field != "image":
            warn(f"{name}: {max(len(made.buckets), 1)} size(s) of arrays, {made.padding:.0%} of them padding")
    with train.Checkpoints(run.file("checkpoints"), say=warn) as checkpoints:
        state = train.fit(
            parallel,
            made.state(),
            made.batches,
            steps=made.steps,
            every=-(-made.steps // experiment.evaluations),
            report=functools.partial(train.finalise, made.task),
            evaluate=evaluation.numbers,
            monitor=made.outputs.score,
            checkpoints=checkpoints,
            log=folder,
            batches_per_epoch=made.batches_per_epoch,
            progress=progress,
        )
        if experiment.select == "best":
            best = checkpoints.restore(made.state(), best=True)
            state = state if best is None else best.state
    evaluate_run(run, made, state, split="validation", evaluation=evaluation, command=command)
    results = run.read("results.json")
    results["last_call_seconds"] = round(time.perf_counter() - begun, 1)
    run.write("results.json", results)
    return run


def _devices(count: int) -> list[jax.Device] | None:
    if count == 0:
        return None
    require_at_least("devices", count, 0)
    there = jax.local_devices()
    if count > len(there):
        raise UserError(
            f"{count} devices were asked for, {len(there)} are there. On a CPU, "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={count} simulates that many."
        )
    return there[:count]


def _require_shares(made: Setup, mode: str, devices: int) -> None:
    """A batch must divide over the devices and, under `pmap`, each share over the parts that are accumulated."""
    size, parts = made.experiment.batch_size, made.experiment.optimisation.accumulate
    divisor = devices * parts if mode == "pmap" else devices
    if size % divisor:
        raise UserError(
            f"A batch of {size} cannot be shared by {devices} devices"
            + (f" in {parts} parts each" if divisor > devices else "")
            + f": take a batch size that is a multiple of {divisor}."
        )
