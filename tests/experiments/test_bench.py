"""`zoo bench`: every row is a measurement."""

import math

import pytest

from zoo.errors import UserError
from zoo_experiments.verbs.bench import METHODS, bench_experiment


@pytest.mark.slow
def test_every_row_is_a_positive_number_with_its_unit(trained):
    # More steps than the experiment has: small data must not end the measurement.
    rows = bench_experiment(trained.experiment, steps=30)
    for what, value, unit in rows:
        assert math.isfinite(value) and value > 0 and unit in ("s", "ms", "GB", "examples/s", "% of step time"), what
    names = [what for what, _, _ in rows]
    assert len(set(names)) == len(names)
    assert {f"explain 4 images: {name}" for name in METHODS} <= set(names)
    values = {what: value for what, value, _ in rows}
    assert values["training"] == pytest.approx(8 / (values["training step"] / 1e3))
    assert values["waiting for data"] < 100


def test_no_step_cannot_be_timed(trained):
    with pytest.raises(UserError, match="steps must be at least 1, got 0"):
        bench_experiment(trained.experiment, steps=0)
