"""`zoo predict`: what a run says of the user's own images, without labels."""

from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import UserError
from zoo_datasets.loading.buckets import require_sequences
from zoo_datasets.loading.catalogue import load
from zoo_experiments.verbs.evaluating import write_predictions
from zoo_experiments.verbs.experiment import prepared
from zoo_experiments.verbs.fields import LAYOUT, field_of, shape_of
from zoo_experiments.verbs.graphs import COUNT_OF_ROWS
from zoo_experiments.verbs.runs import Run

# What says how many rows of a record there are.
_COUNTS = {"step": "length", **COUNT_OF_ROWS}


def predict_run(run: Run, *, data: str, out: Path) -> dict[str, Any]:
    """Predict for images and write one row each to a CSV file, or the predicted maps to an .npz file.

    The images go through the same crop, resizing, scaling and stretch as in training; values keep their meaning
    only if they come in the units of the training images.

    Args:
        run: a trained run.
        data: a .npz, HDF5 or FITS file, an image folder, or the name of a data set.
        out: the CSV file; where pixels, steps, nodes or the like are predicted, an .npz file of `prediction` (N, …, K)
            in the order of the data, and of `length` (N,), the rows beyond which a prediction says nothing.

    Returns:
        Class → number of images predicted as it; target → mean of the predictions; where pixels, steps, nodes or the
        like are predicted, class or mask → share of them.

    Raises:
        UserError: the images or sequences have another shape or vocabulary than the network was trained on, or `out`
            has the wrong ending.
    """
    maps = run.outputs.dense or bool(run.outputs.rows)
    if maps and out.suffix != ".npz":
        what = "pixels" if run.outputs.dense else f"{run.outputs.rows}s"
        raise UserError(f"{run.name} predicts {what}, which go into an .npz file: --out PATH.npz; got {out}.")
    made = run.setup()
    dataset = load(data, labels=False)
    evaluation, rows, lengths, names = made.evaluation(), [], [], []
    state = run.weights(made).state
    run.require_vocabulary(data, dataset.vocabulary or ())
    if field_of(dataset) != run.field:
        first = next(iter(dataset.splits.values()))[0]
        raise UserError(f"{run.name} takes {LAYOUT[run.field].format(run.shape)}; {data} has {', '.join(first)}.")
    edge_types = len(dataset.edge_types or ())
    # Of all splits together, so that arrays of graphs have one size.
    ready = prepared(run.experiment, dataset, splits=tuple(dataset.splits), truth=False)
    for split, source in ready.items():
        shape = shape_of(run.field, source.arrays, edge_types=edge_types)
        if run.field == "sequence":
            require_sequences(f"{data}, {split}", source.arrays, symbols=len(run.vocabulary))
        if shape != run.shape:
            raise UserError(
                f"The records of {data} become {LAYOUT[run.field].format(shape)} after preprocessing, the network of "
                f"{run.folder} takes {run.shape}."
            )
        rows.append(evaluation(state.averaged, source)[0])
        lengths.append(source.arrays.get(_COUNTS.get(run.outputs.rows, ""), np.zeros(len(source), np.int32)))
        known = (dataset.record_names or {}).get(split)
        names += known or [f"{split} {i}" for i in range(len(source))]
    predictions = np.asarray(made.task.predict(np.concatenate(rows)))
    out.parent.mkdir(parents=True, exist_ok=True)
    if run.outputs.rows:
        length = np.concatenate(lengths)
        np.savez_compressed(out, prediction=predictions, length=length, names=np.array(names))
        return _shares(run, predictions[np.arange(predictions.shape[1]) < length[:, None]])
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
