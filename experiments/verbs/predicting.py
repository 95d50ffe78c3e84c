"""`zoo predict`: what a run says of the user's own images, without labels."""

from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import UserError
from zoo_datasets.loading.buckets import require_sequences
from zoo_datasets.loading.catalogue import load
from zoo_datasets.loading.pipeline import in_memory
from zoo_experiments.verbs.evaluating import write_predictions
from zoo_experiments.verbs.runs import Run


def predict_run(run: Run, *, data: str, out: Path) -> dict[str, Any]:
    """Predict for images and write one row each to a CSV file, or the predicted maps to an .npz file.

    The images go through the same crop, resizing, scaling and stretch as in training; values keep their meaning
    only if they come in the units of the training images.

    Args:
        run: a trained run.
        data: a .npz, HDF5 or FITS file, an image folder, or the name of a data set.
        out: the CSV file; where pixels or steps are predicted, an .npz file of `prediction` (N, …, K) in the order of
            the data, and for steps of `length` (N,), beyond which a prediction says nothing.

    Returns:
        Class → number of images predicted as it; target → mean of the predictions; where pixels or steps are predicted,
        class or mask → share of them.

    Raises:
        UserError: the images or sequences have another shape or vocabulary than the network was trained on, or `out`
            has the wrong ending.
    """
    maps = run.outputs.dense or run.outputs.steps
    if maps and out.suffix != ".npz":
        what = "pixels" if run.outputs.dense else "steps"
        raise UserError(f"{run.name} predicts {what}, which go into an .npz file: --out PATH.npz; got {out}.")
    made = run.setup()
    dataset = load(data, labels=False)
    evaluation, rows, lengths, names = made.evaluation(), [], [], []
    state = run.weights(made).state
    run.require_vocabulary(data, dataset.vocabulary or ())
    for split, records in dataset.splits.items():
        if run.field not in records[0]:
            raise UserError(f"{run.name} takes records with a field {run.field}; {data} has {', '.join(records[0])}.")
        source = in_memory(records, run.experiment.preparation(run.field))
        shape = source.arrays[run.field].shape[1:]
        if run.field == "sequence":
            require_sequences(f"{data}, {split}", source.arrays, symbols=len(run.vocabulary))
        if shape != run.shape:
            layout = "height, width, channels" if run.field == "image" else "steps, channels"
            raise UserError(
                f"The {run.field}s of {data} become {shape} after preprocessing, the network of {run.folder} "
                f"takes {run.shape} ({layout})."
            )
        rows.append(evaluation(state.averaged, source)[0])
        lengths.append(source.arrays.get("length", np.zeros(len(source), np.int32)))
        known = (dataset.record_names or {}).get(split)
        names += known or [f"{split} {i}" for i in range(len(source))]
    predictions = np.asarray(made.task.predict(np.concatenate(rows)))
    out.parent.mkdir(parents=True, exist_ok=True)
    if run.outputs.steps:
        length = np.concatenate(lengths)
        np.savez_compressed(out, prediction=predictions, length=length, names=np.array(names))
        return _shares(run, predictions[np.arange(run.shape[0]) < length[:, None]])
    if maps:
        np.savez_compressed(out, prediction=predictions, names=np.array(names))
        return _shares(run, predictions)
    write_predictions(out, predictions, run.outputs, names=names)
    if run.outputs.targets:
        return dict(zip(run.outputs.names, predictions.mean(0).tolist(), strict=True))
    counts = np.bincount(predictions.argmax(1), minlength=len(run.class_names))
    return dict(zip(run.class_names, counts.tolist(), strict=True))


def _shares(run: Run, predictions: np.ndarray) -> dict[str, float]:
    """Of predictions (…, K) of pixels or steps."""
    outputs, pixels = run.outputs, tuple(range(predictions.ndim - 1))
    if outputs.class_names:
        counts = np.bincount(predictions.argmax(-1).ravel(), minlength=len(outputs.names))
        return dict(zip(outputs.names, (counts / counts.sum()).tolist(), strict=True))
    values = (predictions > 0.5).mean(pixels) if outputs.kind == "masks" else predictions.mean(pixels)
    return dict(zip(outputs.names, values.tolist(), strict=False))
