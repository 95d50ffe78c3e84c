import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import explain


class Classifier(nn.Module):
    """Three logits from (B, 4); training is another function, so that a wrong mode shows."""

    @nn.compact
    def __call__(self, x, *, train=False, scale=None):
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dense(3)(x)
        return -x if train else (x if scale is None else x * scale[:, None])


@pytest.fixture
def x(key):
    return jax.random.normal(key, (5, 4))


@pytest.fixture
def variables(key, x):
    return Classifier().init(key, x)


def test_score_is_the_targets_logit_in_evaluation_mode(x, variables):
    logits = Classifier().apply(variables, x, train=False)
    np.testing.assert_array_equal(explain.score(Classifier(), variables, 2)(x), logits[:, 2])
    target = jnp.array([0, 2, 1, 1, 0])
    np.testing.assert_array_equal(explain.score(Classifier(), variables, target)(x), logits[np.arange(5), target])
    np.testing.assert_array_equal(explain.score(Classifier(), variables, np.int64(1))(x), logits[:, 1])
    # A model without `train` is not given any.
    dense = nn.Dense(3)
    params = dense.init(jax.random.key(0), x)
    np.testing.assert_array_equal(explain.score(dense, params, 1)(x), dense.apply(params, x)[:, 1])


def test_array_keyword_arguments_are_traced(x, variables):
    scale = jnp.arange(1.0, 6.0)
    f = explain.score(Classifier(), variables, 0, scale=scale)
    np.testing.assert_allclose(f(x), scale * explain.score(Classifier(), variables, 0)(x), rtol=1e-6)
    assert any(leaf is scale for leaf in jax.tree.leaves(f))


def test_other_weights_or_targets_do_not_recompile(x, variables):
    traces = []

    class Counting(nn.Module):
        @nn.compact
        def __call__(self, x):
            traces.append(1)
            return nn.Dense(3, name="d")(x)

    params = Counting().init(jax.random.key(0), x)
    explain.saliency(explain.score(Counting(), params, 0), x)
    explain.integrated_gradients(explain.score(Counting(), params, 0), x, steps=4, chunk=2)
    before = len(traces)
    assert before > 0
    other = jax.tree.map(lambda leaf: 2 * leaf, params)
    once = explain.saliency(explain.score(Counting(), params, 1), x)
    twice = explain.saliency(explain.score(Counting(), other, 1), x)
    explain.integrated_gradients(explain.score(Counting(), other, 2), x, steps=4, chunk=2)
    assert len(traces) == before
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-6)


def test_a_target_out_of_range_names_the_range(x, variables):
    for target in (3, -1, jnp.array([0, 1, 2, 3, 0])):
        f = explain.score(Classifier(), variables, target)
        for call in (lambda f=f: f(x), lambda f=f: explain.saliency(f, x)):
            with pytest.raises(ValueError, match=r"target -?\d is out of range: the model has 3 outputs, 0 … 2"):
                call()


def test_other_bad_input(x, variables):
    with pytest.raises(ValueError, match=r"class index or an integer array.*got float32 of shape \(\)"):
        explain.score(Classifier(), variables, 1.0)
    with pytest.raises(ValueError, match=r"got int32 of shape \(1, 1\)"):
        explain.score(Classifier(), variables, [[1]])
    with pytest.raises(ValueError, match="4 entries for a batch of 5"):
        explain.saliency(explain.score(Classifier(), variables, jnp.zeros(4, int)), x)
    flat = nn.Sequential([nn.Dense(1), lambda y: y[:, 0]])
    params = flat.init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"\(B, K\) = \(5, K\).*got \(5,\).*write the score yourself"):
        explain.saliency(explain.score(flat, params, 0), x)
    pair = nn.Sequential([nn.Dense(1), lambda y: (y, y)])
    with pytest.raises(ValueError, match=r"got PyTreeDef\(\(\*, \*\)\)"):
        explain.score(pair, params, 0)(x)

    with pytest.raises(ValueError, match=r"either arrays or hashable.*use tuples instead of lists"):
        explain.score(Classifier(), variables, 0, method=["forward"])


def test_modules_that_cannot_be_hashed_are_compiled_once_too(x):
    traces = []
    model = nn.Sequential([nn.Dense(3), lambda y: traces.append(1) or y])
    params = model.init(jax.random.key(0), x)
    first = explain.saliency(explain.score(model, params, 1), x)
    before = len(traces)
    second = explain.saliency(explain.score(model, jax.tree.map(lambda leaf: 2 * leaf, params), 1), x)
    assert len(traces) == before
    np.testing.assert_allclose(second, 2 * first, rtol=1e-6)
    # Another instance may hold other functions.
    other = nn.Sequential([nn.Dense(3), lambda y: -y])
    np.testing.assert_allclose(explain.saliency(explain.score(other, params, 1), x), -first, rtol=1e-6)


def test_explainers_refuse_what_is_not_a_score(x):
    with pytest.raises(ValueError, match=r"shape \(5, 4\) to one number per example, shape \(5,\); got \(5, 4\)"):
        explain.saliency(lambda x: x**2, x)
    with pytest.raises(ValueError, match=r"shape \(5,\); got \(\)"):
        explain.occlusion(lambda x: x.sum(), x[..., None], patch=1, stride=1)
    with pytest.raises(ValueError, match=r"floating-point.*got uint8: cast to float"):
        explain.integrated_gradients(lambda x: x.sum(1), x.astype(jnp.uint8))
    with pytest.raises(ValueError, match="got a single number"):
        explain.saliency(lambda x: x, jnp.float32(1))


def test_public_names_are_documented():
    for name in set(explain.__all__) - {"ScoreFunction"}:  # a type, described by a comment
        assert getattr(explain, name).__doc__, name
