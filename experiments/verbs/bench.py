"""`zoo bench`: what a run costs on this machine: start, steps, data, memory, explanations."""

import dataclasses
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from zoo import explain, train
from zoo_experiments.verbs.checks import require_at_least
from zoo_experiments.verbs.experiment import Experiment, setup
from zoo_experiments.verbs.explaining import default_layer, fitting

METHODS = ("saliency", "smooth_grad", "integrated_gradients", "grad_cam", "occlusion")


def bench_experiment(experiment: Experiment, *, steps: int = 30) -> list[tuple[str, float, str]]:
    """Rows (what, number, unit): measured once, on data of the experiment, nothing is kept.

    Args:
        experiment: what to measure.
        steps: training steps to time after the first.

    Raises:
        UserError: no step to time.
    """
    require_at_least("steps", steps, 1)
    rows = []

    def timed(what: str, function: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = jax.block_until_ready(function())
        rows.append((what, time.perf_counter() - begun, "s"))
        return result

    made = timed("load and preprocess the data", lambda: setup(experiment))
    parallel = train.parallelise(made.step())
    state = timed("initialise", lambda: parallel.place(made.state()))
    # As many epochs as the steps take: small data would end before.
    epochs = -(-(steps + 1) * experiment.batch_size // len(made.data["train"]))
    batches = iter(dataclasses.replace(made, experiment=dataclasses.replace(experiment, epochs=epochs)).batches())
    state, _ = timed("first step, with compilation", lambda: parallel(state, parallel.split(next(batches))))
    waited, begun = 0.0, time.perf_counter()
    for _ in range(steps):
        before = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - before
        state, sums = parallel(state, parallel.split(batch))
        jax.block_until_ready(sums)
    elapsed = time.perf_counter() - begun
    batches.close()
    rows.append(("training step", elapsed / steps * 1e3, "ms"))
    rows.append(("training", steps * experiment.batch_size / elapsed, "examples/s"))
    rows.append(("waiting for data", 100 * waited / elapsed, "% of step time"))
    final = parallel.fetch(state)
    variables, evaluation = final.averaged, made.evaluation()
    evaluation(variables, made.data["validation"])
    timed("evaluate the validation split", lambda: evaluation.numbers(variables))
    with tempfile.TemporaryDirectory() as folder, train.Checkpoints(Path(folder)) as checkpoints:
        timed("checkpoint: time taken from training", lambda: checkpoints.save(final, {}))
        timed("checkpoint: until sealed on disk", checkpoints.wait)
    images = jnp.asarray(made.data["validation"].arrays["image"][:4])
    target = jnp.argmax(made.model.apply(variables, images), axis=-1)
    for name in fitting(made, METHODS):
        method, key = explain.methods()[name], jax.random.key(0)
        layer = default_layer(made) if method.kind == "layer" else ""
        arguments = (made.model, variables, images, target, key, layer, {})
        jax.block_until_ready(method.function(*arguments))
        timed(f"explain 4 images: {name}", lambda method=method, arguments=arguments: method.function(*arguments))
    # ru_maxrss is in kilobytes on Linux, in bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    rows.append(("peak memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, "GB"))
    return rows
