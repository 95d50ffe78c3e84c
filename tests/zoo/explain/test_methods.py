import flax.linen as nn
import jax
import numpy as np
import pytest

from zoo import explain


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(3)(nn.relu(nn.Conv(4, (3, 3), name="conv")(x)).mean((1, 2)))


OPTIONS = {
    "saliency": {"absolute": True},
    "gradient_x_input": {},
    "smooth_grad": {"samples": 3},
    "integrated_gradients": {"steps": 3},
    "grad_cam": {"negative": True},
    "occlusion": {"patch": 4},
}


def test_every_method_can_be_called_by_name(key):
    x = jax.random.normal(key, (2, 16, 8, 2))
    variables = Net().init(key, x)
    f = explain.score(Net(), variables, 1)
    direct = {
        "saliency": explain.saliency(f, x, absolute=True),
        "gradient_x_input": explain.gradient_x_input(f, x),
        "smooth_grad": explain.smooth_grad(f, x, key=key, samples=3),
        "integrated_gradients": explain.integrated_gradients(f, x, steps=3).values,
        "grad_cam": explain.grad_cam(Net(), variables, x, target=1, layer="conv", negative=True),
        "occlusion": explain.occlusion(f, x, patch=4, stride=2),
    }
    methods = explain.methods()
    assert list(methods) == list(OPTIONS)
    for name, method in methods.items():
        assert method.name == name and method.summary
        layer = "conv" if method.kind == "layer" else None
        got = method.function(Net(), variables, x, 1, key, layer, OPTIONS[name])
        np.testing.assert_array_equal(got, direct[name])
        assert got.shape in (x.shape, x.shape[:-1])
    by_size = methods["occlusion"].function(Net(), variables, x, 1, key, None, {})
    np.testing.assert_array_equal(by_size, explain.occlusion(f, x, patch=(2, 1), stride=1))


def test_a_layer_method_asks_for_its_layer(key):
    with pytest.raises(ValueError, match=r"grad_cam needs a layer: `zoo\.taps\.names"):
        explain.methods()["grad_cam"].function(Net(), {}, None, 0, key, None, {})
