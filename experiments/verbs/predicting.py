"""`zoo predict`: what a run says of the user's own images, without labels."""

from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import UserError
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
        out: the CSV file; where pixels are predicted, an .npz file of `prediction` (N, …, K) in the images' order.

    Returns:
        Class → number of images predicted as it; target → mean of the predictions; where pixels are predicted, class or
        mask → share of the pixels.

    Raises:
        UserError: the images have another shape than the network was trained on, or `out` has the wrong ending.
    """
    if run.outputs.dense and out.suffix != ".npz":
        raise UserError(f"{run.name} predicts pixels, which go into an .npz file: --out PATH.npz; got {out}.")
    made = run.setup()
    dataset = load(data, labels=False)
    evaluation, rows, names = made.evaluation(), [], []
    state = run.weights(made).state
    for split, records in dataset.splits.items():
        source = in_memory(records, run.experiment.images)
        shape = source.arrays["image"].shape[1:]
        if shape != run.shape:
            raise UserError(
                f"The images of {data} become {shape} after preprocessing, the network of {run.folder} "
                f"takes {run.shape} (height, width, channels)."
            )
        rows.append(evaluation(state.averaged, source)[0])
        known = (dataset.record_names or {}).get(split)
        names += known or [f"{split} {i}" for i in range(len(source))]
    predictions = np.asarray(made.task.predict(np.concatenate(rows)))
    out.parent.mkdir(parents=True, exist_ok=True)
    if run.outputs.dense:
        np.savez_compressed(out, prediction=predictions, names=np.array(names))
        return _shares(run, predictions)
    write_predictions(out, predictions, run.outputs, names=names)
    if run.outputs.targets:
        return dict(zip(run.outputs.names, predictions.mean(0).tolist(), strict=True))
    counts = np.bincount(predictions.argmax(1), minlength=len(run.class_names))
    return dict(zip(run.class_names, counts.tolist(), strict=True))


def _shares(run: Run, predictions: np.ndarray) -> dict[str, float]:
    outputs, pixels = run.outputs, tuple(range(predictions.ndim - 1))
    if outputs.kind == "segmentation":
        counts = np.bincount(predictions.argmax(-1).ravel(), minlength=len(outputs.names))
        return dict(zip(outputs.names, (counts / counts.sum()).tolist(), strict=True))
    values = (predictions > 0.5).mean(pixels) if outputs.kind == "masks" else predictions.mean(pixels)
    return dict(zip(outputs.names, values.tolist(), strict=False))
