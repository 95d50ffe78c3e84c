"""ResNet-18 against the same network in PyTorch, with the same weights.

Conventions that differ: torch keeps kernels as (out, in, H, W) and images channels first; its BatchNorm momentum 0.1 is
our 0.9; its running variance is divided by n − 1, ours (by default) by n. ε and padding are the same.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from zoo.layers import BatchNorm

pytestmark = pytest.mark.parity

WIDTH, CLASSES, BATCH, SIZE = 8, 5, 4, 64
RATE = 0.1


def torch_resnet18():
    """ResNet-18 of width 8 in torch.nn, its weights and running averages drawn at random; named as torchvision does."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before, width, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.downsample = None
            if stride != 1 or before != width:
                self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(y + (x if self.downsample is None else self.downsample(x)))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, WIDTH, 7, 2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(WIDTH)
            self.maxpool = nn.MaxPool2d(3, 2, padding=1)
            before = WIDTH
            for stage in range(1, 5):
                width = WIDTH * 2 ** (stage - 1)
                blocks = [Block(before, width, 1 if stage == 1 else 2), Block(width, width, 1)]
                setattr(self, f"layer{stage}", nn.Sequential(*blocks))
                before = width
            self.fc = nn.Linear(before, CLASSES)

        def forward(self, x):
            x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
            for stage in range(1, 5):
                x = getattr(self, f"layer{stage}")(x)
            return self.fc(x.mean((2, 3)))

    torch.manual_seed(0)
    net = Net().double()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 1.5)
    return net


def our_path(name):
    """`layer2.0.downsample.1.running_var` → ("batch_stats", "stage2_block0", "shortcut_norm", "var")."""
    *modules, leaf = name.split(".")
    path = ".".join(modules)
    path = re.sub(r"layer(\d)\.(\d)", r"stage\1_block\2", path)
    path = path.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut_norm").replace("fc", "head")
    path = re.sub(r"bn(\d)", r"norm\1", path)
    path = {"conv1": "stem", "norm1": "stem_norm"}.get(path, path)
    norm = "norm" in path
    leaf = {"weight": "scale" if norm else "kernel", "running_mean": "mean", "running_var": "var"}.get(leaf, leaf)
    return ("batch_stats" if leaf in ("mean", "var") else "params", *path.split("."), leaf)


def our_tree(tensors):
    """Named torch tensors → our nested tree of float64 arrays."""
    tree = {}
    for name, tensor in tensors:
        if name.endswith("num_batches_tracked"):
            continue
        value = np.array(tensor.detach().numpy())  # a copy: the optimiser writes in place
        value = {4: lambda v: v.transpose(2, 3, 1, 0), 2: np.transpose}.get(value.ndim, np.asarray)(value)
        *parents, leaf = our_path(name)
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = jnp.asarray(value)
    return tree


@pytest.fixture(scope="module")
def data():
    draw = np.random.default_rng(0)
    return draw.normal(size=(BATCH, SIZE, SIZE, 3)), draw.integers(0, CLASSES, BATCH)


def channels_first(x):
    import torch

    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def assert_norm_wise(got, expected, tolerance):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for (path, a), b in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(expected), strict=True):
        error = np.linalg.norm(np.ravel(a - b)) / np.linalg.norm(np.ravel(b))
        assert error <= tolerance, (jax.tree_util.keystr(path), error)


def our_resnet18(dtype):
    return zoo.create("resnet18", num_classes=CLASSES, width=WIDTH, param_dtype=dtype)


def test_evaluation(data, x64):
    import torch

    net, (x, _) = torch_resnet18().eval(), data
    with torch.no_grad():
        expected = net(channels_first(x)).numpy()
    variables = our_tree(net.state_dict().items())
    assert_norm_wise(jax.jit(our_resnet18(jnp.float64).apply)(variables, x), expected, 1e-9)
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), variables)
    outputs = jax.jit(our_resnet18(jnp.float32).apply)(single, x.astype(np.float32))
    with torch.no_grad():
        expected = net.float()(channels_first(x).float()).numpy()
    assert outputs.dtype == jnp.float32
    assert np.max(np.abs(outputs - expected)) <= 1e-5 * np.max(np.abs(expected))


def test_training_step(data, x64):
    import torch

    net, (x, labels) = torch_resnet18().train(), data
    variables = our_tree(net.state_dict().items())

    def loss(params):
        outputs, updates = our_resnet18(jnp.float64).apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
        return losses.mean(), (outputs, updates["batch_stats"])

    (value, (outputs, stats)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    optimiser = optax.sgd(RATE, momentum=0.9)
    updates, _ = optimiser.update(gradients, optimiser.init(variables["params"]), variables["params"])
    params = optax.apply_updates(variables["params"], updates)

    counts = {}
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(
                lambda module, inputs, output, name=name: counts.update({name: output.numel() // output.shape[1]})
            )
    optimiser = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9)
    expected = net(channels_first(x))
    expected_value = torch.nn.functional.cross_entropy(expected, torch.from_numpy(labels))
    expected_value.backward()
    expected_gradients = our_tree((name, p.grad.clone()) for name, p in net.named_parameters())
    optimiser.step()

    assert_norm_wise(value, expected_value.detach().numpy(), 1e-9)
    assert_norm_wise(outputs, expected.detach().numpy(), 1e-9)
    assert_norm_wise(gradients, expected_gradients["params"], 1e-9)
    after = our_tree(net.state_dict().items())
    assert_norm_wise(params, after["params"], 1e-9)

    # Ours keeps the biased variance of the batch: times n / (n − 1) it is torch's.
    bessel = our_tree(
        (f"{name}.running_{kind}", torch.tensor(n / (n - 1) if kind == "var" else 1.0, dtype=torch.float64))
        for name, n in counts.items()
        for kind in ("mean", "var")
    )["batch_stats"]
    assert len(counts) == 20
    unbiased = jax.tree.map(
        lambda new, old, factor: 0.9 * old + (new - 0.9 * old) * factor, stats, variables["batch_stats"], bessel
    )
    assert_norm_wise(unbiased, after["batch_stats"], 1e-9)


def test_unbiased_batch_norm_is_that_of_torch(x64):
    import torch

    x = np.random.default_rng(1).normal(2, 3, size=(2, 3, 3, 4))
    norm = torch.nn.BatchNorm2d(4).double()
    expected = norm(channels_first(x)).detach().numpy().transpose(0, 2, 3, 1)
    ours = BatchNorm(running_variance="unbiased", param_dtype=jnp.float64)
    variables = ours.init(jax.random.key(0), x, train=True)
    outputs, updates = ours.apply(variables, x, train=True, mutable=["batch_stats"])
    assert_norm_wise(outputs, expected, 1e-9)
    assert_norm_wise(updates["batch_stats"]["mean"], norm.running_mean.numpy(), 1e-12)
    assert_norm_wise(updates["batch_stats"]["var"], norm.running_var.numpy(), 1e-12)
