"""ConvNet in training: the gradient that a compiled step gets is the gradient; and on sequences of unequal lengths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.layers import Sequence
from zoo.models import ConvNet


def test_the_gradient_of_the_maximum_is_the_same_with_and_without_jit(randomise, key, x64, close):
    """XLA computes the normalised maps twice; a maximum that compares them with itself would lose its gradient."""
    model = ConvNet(num_classes=3, widths=(4, 6), depths=(1, 2), head_pool="both", param_dtype=jnp.float64)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 16, 24, 2)))
    variables = randomise(0, jax.eval_shape(model.init, key, x))

    def loss(params):
        outputs, _ = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
        return jnp.sum(outputs[:, 0] ** 2)

    close(jax.jit(jax.grad(loss))(variables["params"]), jax.grad(loss)(variables["params"]), 1e-10)


LENGTHS = np.array([12, 1, 6, 5], np.int32)


@pytest.fixture
def sequences(key, randomise):
    """`sequences(**options)` → conv1d in float64, random variables and values (4, 12, 2) of lengths 12, 1, 6 and 5."""

    def build(**options):
        options = {"num_classes": 3, "widths": (4, 6), "depths": (1, 2), "head_pool": "both", **options}
        model = zoo.create("conv1d", **options, param_dtype=jnp.float64)
        x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 12, 2)))
        return model, randomise(0, jax.eval_shape(model.init, key, x)), x

    return build


@pytest.mark.parametrize("options", [{}, {"pool": "avg"}, {"fold": 3}, {"widths": (4, 5, 6), "depths": (1, 1, 1)}])
def test_what_stands_beyond_a_sequence_is_never_seen(options, sequences, x64, close):
    model, variables, x = sequences(**options)
    run = jax.jit(model.apply)
    expected = run(variables, Sequence(x, LENGTHS))
    assert np.all(np.isfinite(expected))

    @jax.jit
    @jax.grad
    def gradient(params, sequence):
        return jnp.sum(model.apply({**variables, "params": params}, sequence) ** 2)

    with jax.debug_nans(False):
        loud = Sequence(jnp.where(np.arange(12)[None, :, None] < LENGTHS[:, None, None], x, np.nan), LENGTHS)
        assert np.array_equal(run(variables, loud), expected)
        slopes = [gradient(variables["params"], sequence) for sequence in (loud, Sequence(x, LENGTHS))]
    jax.tree.map(np.testing.assert_array_equal, *slopes)
    longer = Sequence(jnp.concatenate([x, x[:, :7]], axis=1), LENGTHS)
    close(run(variables, longer), expected, 1e-13)
    close(gradient(variables["params"], longer), slopes[1], 1e-12)
    # One by one, each as long as it is.
    for example, length in enumerate(LENGTHS):
        single = Sequence(x[example : example + 1, :length], LENGTHS[example : example + 1])
        close(run(variables, single), expected[example : example + 1], 1e-13)


@pytest.mark.parametrize("options", [{}, {"fold": 3}])
def test_sequences_of_whole_strides_are_the_array(options, sequences, x64, close):
    """Nothing is lost by pooling then; an array of another length loses its last steps, a sequence is filled up."""
    model, variables, x = sequences(**options)
    for steps in (6, 12):
        sequence = Sequence(x[:, :steps], np.full(4, steps))
        close(model.apply(variables, sequence), model.apply(variables, x[:, :steps]), 1e-13)
    if not options:
        lost = model.apply(variables, x[:, :11])
        assert not np.allclose(model.apply(variables, Sequence(x[:, :11], np.full(4, 11))), lost, rtol=1e-3)


def norm_of(x, length, params, stats=None):
    """Batch normalisation of (B, T, C) by the statistics given, or by those of the first `length` steps of each."""
    own = np.concatenate([example[:n] for example, n in zip(x, length, strict=True)])
    mean, var = stats or (own.mean(0), own.var(0))
    return (x - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"], (own.mean(0), own.var(0))


@pytest.mark.parametrize("masked", [False, True])
def test_normalisation_counts_the_steps_of_the_sequences_alone(masked, sequences, x64, close, literal_conv):
    model, variables, x = sequences(depths=(1, 1), kernel=3)
    mask = jnp.array([1.0, 1.0, 1.0, 0.0]) if masked else None
    counted = slice(0, 3) if masked else slice(None)
    outputs, updates = model.apply(variables, Sequence(x, LENGTHS), train=True, mask=mask, mutable=["batch_stats"])

    params = jax.tree.map(np.asarray, variables["params"])
    length, h, found = LENGTHS[counted], np.asarray(x)[counted], {}
    for stage in (1, 2):
        if stage == 2:
            h = h.reshape(len(h), -1, 2, h.shape[-1]).max(2)
            length = -(-length // 2)
        beyond = np.arange(h.shape[1])[None, :, None] >= length[:, None, None]
        h = literal_conv(np.where(beyond, 0, h), params[f"stage{stage}_conv1"]["kernel"])
        h, found[f"stage{stage}_norm1"] = norm_of(h, length, params[f"stage{stage}_norm1"])
        h = np.where(beyond, 0, np.maximum(h, 0))
    features = np.stack([np.concatenate([e[:n].mean(0), e[:n].max(0)]) for e, n in zip(h, length, strict=True)])
    close(outputs[counted], features @ params["head"]["kernel"] + params["head"]["bias"], 1e-12)
    old = variables["batch_stats"]
    for name, (mean, var) in found.items():
        close(updates["batch_stats"][name]["mean"], 0.9 * np.asarray(old[name]["mean"]) + 0.1 * mean, 1e-12)
        close(updates["batch_stats"][name]["var"], 0.9 * np.asarray(old[name]["var"]) + 0.1 * var, 1e-12)


def test_no_other_length_recompiles(sequences, x64):
    model, variables, x = sequences()
    traces = []

    @jax.jit
    def run(variables, sequence):
        traces.append(sequence)
        return model.apply(variables, sequence)

    for lengths in (LENGTHS, LENGTHS[::-1]):
        run(variables, Sequence(x, lengths))
    assert len(traces) == 1


def test_a_sequence_has_no_other_end_to_be_joined_to(sequences, x64):
    model, variables, x = sequences(padding="circular")
    with pytest.raises(ValueError, match="no border to be wrapped around: set padding='zero'"):
        model.apply(variables, Sequence(x, LENGTHS))


def test_other_sequences_than_those_of_numbers_are_refused(sequences, x64):
    model, variables, x = sequences()
    with pytest.raises(ValueError, match=r"ConvNet takes sequences \(B, T, C\); got shape \(4, 12, 2, 1\)"):
        model.apply(variables, Sequence(x[..., None], LENGTHS))
    with pytest.raises(ValueError, match=r"lengths should be in 1 … 12.*sequence 1 has 13"):
        model.apply(variables, Sequence(x, np.array([12, 13, 1, 1])))
