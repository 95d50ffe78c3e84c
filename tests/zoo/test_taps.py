import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import taps

DECLARED = {"intermediates": 0, "perturbations": 0}


class Block(nn.Module):
    """(carry, x) → (carry, None), so that it can be plain, rematerialised or scanned."""

    @nn.compact
    def __call__(self, h, _=None):
        return nn.tanh(nn.Dense(3, name="dense")(h)), None


class Net(nn.Module):
    remat: bool = False

    @nn.compact
    def __call__(self, x, *, train=False):
        block = nn.remat(Block) if self.remat else Block
        h, _ = block(name="first")(x)
        h = nn.Dropout(0.5, deterministic=not train, name="dropout")(h)
        h, _ = block(name="second")(h)
        return nn.Dense(2, name="head")(h)


class Scanned(nn.Module):
    declared: bool = True
    remat: bool = False

    @nn.compact
    def __call__(self, x):
        block = nn.scan(
            nn.remat(Block) if self.remat else Block,
            variable_axes={"params": 0, **(DECLARED if self.declared else {})},
            split_rngs={"params": True},
            length=4,
        )
        h, _ = block(name="blocks")(x, None)
        return nn.Dense(2, name="head")(h)


class Twice(nn.Module):
    @nn.compact
    def __call__(self, x):
        shared = nn.Dense(3, name="shared")
        return shared(jnp.tanh(shared(x)))


class Pair(nn.Module):
    @nn.compact
    def __call__(self, x):
        return {"value": nn.Dense(2)(x), "count": jnp.arange(3)}


class Structured(nn.Module):
    @nn.compact
    def __call__(self, x):
        pair = Pair(name="pair")(x)
        return pair["value"] ** 2 + pair["count"].sum()


class Recurrent(nn.Module):
    declared: bool = True

    @nn.compact
    def __call__(self, x):
        cell = nn.SimpleCell(3, name="cell")
        return nn.RNN(cell, variable_axes=DECLARED if self.declared else {}, name="rnn")(x)[:, -1]


class Child(nn.Dense):
    def __call__(self, x):
        return super().__call__(x) + 1


class Inherits(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Child(2, name="child")(x)


class OwnTaps(nn.Module):
    """A model that sows and perturbs on its own account."""

    @nn.compact
    def __call__(self, x):
        h = self.perturb("mine", nn.Dense(3, name="dense")(x))
        self.sow("intermediates", "mine", h)
        return nn.Dense(2, name="head")(jnp.tanh(h))


@pytest.fixture
def x(key):
    return jax.random.normal(key, (5, 3))


def by_hand(params, h):
    """`Net` written out: its five inner activations."""
    first = h @ params["first"]["dense"]["kernel"] + params["first"]["dense"]["bias"][None]
    h = jnp.tanh(first)
    second = h @ params["second"]["dense"]["kernel"] + params["second"]["dense"]["bias"][None]
    return first, h, second, jnp.tanh(second) @ params["head"]["kernel"] + params["head"]["bias"][None]


def test_names_are_in_call_order_parents_first(x):
    expected = ("first", "first/dense", "dropout", "second", "second/dense", "head")
    assert taps.names(Net(), x) == expected
    assert taps.names(Net(remat=True), jax.ShapeDtypeStruct((1, 3), jnp.float32), train=False) == expected
    assert taps.names(Scanned(), x) == ("blocks", "blocks/dense", "head")
    assert taps.names(Twice(), x) == ("shared",)
    assert taps.names(nn.Dense(2), x) == ()


@pytest.mark.parametrize("remat", [False, True])
def test_read_gives_the_activations_of_the_same_pass(key, x, remat):
    model = Net(remat)
    variables = model.init(key, x)
    outputs, read = taps.read(model, variables, x, ["second/dense", "first", "first/dense", "head"])
    first, hidden, second, head = by_hand(variables["params"], x)
    np.testing.assert_array_equal(outputs, model.apply(variables, x))
    assert list(read) == ["second/dense", "first", "first/dense", "head"]
    np.testing.assert_allclose(read["first/dense"], first, rtol=1e-5, atol=1e-6)  # float32 rounding
    np.testing.assert_allclose(read["first"][0], hidden, rtol=1e-5, atol=1e-6)
    assert read["first"][1] is None
    np.testing.assert_allclose(read["second/dense"], second, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(read["head"], outputs)
    np.testing.assert_allclose(outputs, head, rtol=1e-5, atol=1e-6)


def test_reading_nothing_is_applying(key, x):
    variables = Net().init(key, x)
    outputs, read = taps.read(Net(), variables, x, [])
    assert read == {}
    np.testing.assert_array_equal(outputs, Net().apply(variables, x))


def test_keyword_arguments_reach_the_model(key, x):
    variables = Net().init(key, x)
    outputs, read = taps.read(Net(), variables, x, ["dropout"], train=True, rngs={"dropout": key})
    np.testing.assert_array_equal(outputs, Net().apply(variables, x, train=True, rngs={"dropout": key}))
    assert (read["dropout"] == 0).any()


@pytest.mark.parametrize("remat", [False, True])
def test_gradient_is_that_of_the_rest_of_the_network(key, x, remat, x64):
    model, x = Net(remat), x.astype(jnp.float64)
    variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model.init(key, x))
    params = variables["params"]

    def rest_from_second(second):
        return jnp.sin(jnp.tanh(second) @ params["head"]["kernel"] + params["head"]["bias"][None])[:, 1]

    def rest_from_first(first):
        return rest_from_second(
            jnp.tanh(first) @ params["second"]["dense"]["kernel"] + params["second"]["dense"]["bias"][None]
        )

    outputs, activations, gradients = taps.read_with_gradient(
        lambda outputs: jnp.sin(outputs)[:, 1], model, variables, x, ["first/dense", "second/dense", "first"]
    )
    first, hidden, second, head = by_hand(params, x)
    np.testing.assert_allclose(outputs, head, rtol=1e-12)
    np.testing.assert_allclose(activations["first/dense"], first, rtol=1e-12)
    # Nested taps ("first" contains "first/dense") must not count anything twice.
    for layer, rest, at in [("second/dense", rest_from_second, second), ("first/dense", rest_from_first, first)]:
        expected = jax.grad(lambda a, rest=rest: rest(a).sum())(at)
        np.testing.assert_allclose(gradients[layer], expected, rtol=1e-11, atol=1e-14)
    through_tanh = gradients["first"][0] * (1 - hidden**2)
    np.testing.assert_allclose(through_tanh, gradients["first/dense"], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("remat", [False, True])
def test_scanned_layers_carry_the_scanned_axis_in_front(key, x, remat):
    model = Scanned(remat=remat)
    variables = model.init(key, x)
    params = variables["params"]
    steps, h = [], x
    for i in range(4):
        steps.append(h @ params["blocks"]["dense"]["kernel"][i] + params["blocks"]["dense"]["bias"][i][None])
        h = jnp.tanh(steps[-1])
    outputs, activations, gradients = taps.read_with_gradient(jnp.sum, model, variables, x, ["blocks/dense"])
    np.testing.assert_allclose(activations["blocks/dense"], jnp.stack(steps), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(outputs, model.apply(variables, x))

    def rest(third):
        last = jnp.tanh(third) @ params["blocks"]["dense"]["kernel"][3] + params["blocks"]["dense"]["bias"][3][None]
        return jnp.sum(jnp.tanh(last) @ params["head"]["kernel"] + params["head"]["bias"][None])

    np.testing.assert_allclose(gradients["blocks/dense"][2], jax.grad(rest)(steps[2]), rtol=1e-5, atol=1e-6)


def test_recurrent_cells_are_read_at_every_step(key):
    x = jax.random.normal(key, (2, 6, 3))
    variables = Recurrent().init(key, x)
    layer = next(name for name in taps.names(Recurrent(), x) if name.endswith("cell"))
    outputs, activations, gradients = taps.read_with_gradient(
        lambda outputs: outputs[:, 0], Recurrent(), variables, x, [layer]
    )
    _, states = activations[layer]
    assert states.shape == (6, 2, 3)
    np.testing.assert_array_equal(states[-1], outputs)
    # The last state's output is the network's; earlier outputs do not matter, earlier carries do.
    np.testing.assert_array_equal(gradients[layer][1][-1], np.eye(3)[[0, 0]])
    np.testing.assert_array_equal(gradients[layer][1][:-1], np.zeros((5, 2, 3)))
    assert (gradients[layer][0][:-1] != 0).all()


@pytest.mark.parametrize(
    ("model", "shape", "layer", "transform"),
    [
        (Scanned(declared=False), (5, 3), "blocks/dense", "nn.scan"),
        (Recurrent(declared=False), (2, 4, 3), "", "nn.scan"),
    ],
)
def test_a_layer_met_but_not_tapped_is_an_error(key, model, shape, layer, transform):
    x = jnp.ones(shape)
    variables = model.init(key, x)
    layer = layer or next(name for name in taps.names(model, x) if name.endswith("cell"))
    for call in (
        lambda: taps.read(model, variables, x, [layer]),
        lambda: taps.read_with_gradient(jnp.sum, model, variables, x, [layer]),
        lambda: taps.perturb(model, variables, x, {layer: 1.0}),
        lambda: jax.jit(lambda x: taps.read(model, variables, x, [layer])[1])(x),
    ):
        with pytest.raises(ValueError, match=f"'{layer}' was met but.*inside {transform}.*variable_axes"):
            call()


def test_vmapped_modules_name_their_transform_too(key, x):
    class Ensemble(nn.Module):
        @nn.compact
        def __call__(self, x):
            members = nn.vmap(
                nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, axis_size=3
            )
            return members(2, name="members")(x)

    with pytest.raises(ValueError, match=r"inside nn\.vmap"):
        taps.read(Ensemble(), Ensemble().init(key, x), x, ["members"])


def test_a_layer_called_twice_gives_tuples(key, x):
    variables = Twice().init(key, x)
    kernel, bias = variables["params"]["shared"]["kernel"], variables["params"]["shared"]["bias"][None]
    outputs, activations, gradients = taps.read_with_gradient(jnp.sum, Twice(), variables, x, ["shared"])
    first, second = activations["shared"]
    np.testing.assert_allclose(first, x @ kernel + bias, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(second, outputs)
    expected = jax.grad(lambda first: jnp.sum(jnp.tanh(first) @ kernel))(first)
    np.testing.assert_allclose(gradients["shared"][0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(gradients["shared"][1], np.ones((5, 3)))

    moved = taps.perturb(Twice(), variables, x, {"shared": (1.0, jnp.arange(3.0))})
    expected = jnp.tanh(first + 1) @ kernel + bias + jnp.arange(3.0)[None]
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"called 2 times.*tuple of 2.*got float"):
        taps.perturb(Twice(), variables, x, {"shared": 1.0})


def test_structured_outputs_with_integers(key, x):
    variables = Structured().init(key, x)
    _, activations, gradients = taps.read_with_gradient(jnp.sum, Structured(), variables, x, ["pair"])
    np.testing.assert_allclose(gradients["pair"]["value"], 2 * activations["pair"]["value"], rtol=1e-6)
    np.testing.assert_array_equal(activations["pair"]["count"], np.arange(3))
    assert gradients["pair"]["count"].dtype == jax.dtypes.float0


def test_modules_under_nn_jit_keep_no_stale_traces(key, x):
    compiled = nn.jit(Block)  # traces are kept with this class

    class Compiled(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, name="head")(compiled(name="block")(x)[0])

    model = Compiled()
    variables = model.init(key, x)
    expected = model.apply(variables, x)
    for _ in range(2):
        assert taps.names(model, x) == ("block", "block/dense", "head")
        for layers in (["block/dense"], ["block"], ["block", "block/dense"]):
            outputs, activations, gradients = taps.read_with_gradient(jnp.sum, model, variables, x, layers)
            np.testing.assert_allclose(outputs, expected, rtol=1e-6)
            assert list(activations) == list(gradients) == layers
        with pytest.raises(ValueError, match="no layer 'blok'"):
            taps.read(model, variables, x, ["blok"])
    np.testing.assert_allclose(jnp.tanh(activations["block/dense"]), activations["block"][0], rtol=1e-6)


def test_super_call_is_one_call(key, x):
    variables = Inherits().init(key, x)
    outputs, read = taps.read(Inherits(), variables, x, ["child"])
    np.testing.assert_array_equal(read["child"], outputs)


def test_the_models_own_sow_and_perturb_are_left_alone(key, x):
    variables = OwnTaps().init(key, x)
    variables["perturbations"]["mine"] += 0.5
    _, state = OwnTaps().apply(variables, x, mutable=["intermediates"])
    for given in (variables, {**variables, **state}):
        outputs, activations, gradients = taps.read_with_gradient(jnp.sum, OwnTaps(), given, x, ["dense"])
        np.testing.assert_array_equal(outputs, OwnTaps().apply(variables, x))
        assert activations["dense"].shape == gradients["dense"].shape == (5, 3)
    without = {"params": variables["params"]}
    outputs, _, _ = taps.read_with_gradient(jnp.sum, OwnTaps(), without, x, ["dense"])
    np.testing.assert_array_equal(outputs, OwnTaps().apply(without, x))


def test_perturb_adds_to_the_layer(key, x):
    variables = Net().init(key, x)
    params = variables["params"]
    delta = jax.random.normal(jax.random.key(1), (5, 3))
    moved = taps.perturb(Net(), variables, x, {"second/dense": delta})
    _, _, second, _ = by_hand(params, x)
    expected = jnp.tanh(second + delta) @ params["head"]["kernel"] + params["head"]["bias"][None]
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(taps.perturb(Net(), variables, x, {}), Net().apply(variables, x))
    np.testing.assert_array_equal(taps.perturb(Net(), variables, x, {"head": 0.0}), Net().apply(variables, x))


def test_finite_differences_of_perturb_are_the_gradient(key, x, x64):
    model, x = Scanned(), x.astype(jnp.float64)
    variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model.init(key, x))
    _, activations, gradients = taps.read_with_gradient(jnp.sum, model, variables, x, ["blocks/dense"])
    direction = jax.random.normal(key, activations["blocks/dense"].shape, jnp.float64)
    h = 1e-5

    def value(step):
        return jnp.sum(taps.perturb(model, variables, x, {"blocks/dense": step * direction}))

    # Central differences: truncation h² ≈ 1e-10, rounding 1e-16 / h ≈ 1e-11.
    np.testing.assert_allclose(
        (value(h) - value(-h)) / (2 * h), jnp.vdot(gradients["blocks/dense"], direction), rtol=1e-8
    )


@pytest.mark.parametrize("model", [Net(), Net(remat=True), Scanned()])
def test_jit_vmap_and_grad(key, x, model):
    layers = [name for name in taps.names(model, x) if name.endswith("dense")]
    variables = model.init(key, x)

    def read(variables, x):
        return taps.read_with_gradient(jnp.sum, model, variables, x, layers)

    eager = read(variables, x)
    # XLA may fuse and reorder float32 operations: a few units in the last place.
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, jax.jit(read)(variables, x), eager)
    batches = jnp.stack([x, 2 * x, -x])
    mapped = jax.vmap(read, in_axes=(None, 0))(variables, batches)
    for i, batch in enumerate(batches):
        jax.tree.map(close, jax.tree.map(lambda leaf, i=i: leaf[i], mapped), read(variables, batch))

    def activity(x):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(taps.read(model, variables, x, layers[:1])[1]))

    gradient = jax.grad(activity)(x)
    assert np.isfinite(gradient).all() and (gradient != 0).any()


def test_errors_say_what_to_do(key, x):
    variables = Net().init(key, x)
    with pytest.raises(
        ValueError, match=r"no layer 'secnd/dense'\. Closest: second/dense.*layers are: first, first/dense"
    ):
        taps.read(Net(), variables, x, ["head", "secnd/dense"])
    with pytest.raises(ValueError, match=r"no layer 'zzz'.*Its layers are: first"):
        taps.read_with_gradient(jnp.sum, Net(), variables, x, ["zzz"])
    with pytest.raises(ValueError, match=r"no layer 'heads'.*Closest: head"):
        taps.perturb(Net(), variables, x, {"heads": 1.0})
    with pytest.raises(ValueError, match=re.escape("write ['head']")):
        taps.read(Net(), variables, x, "head")
    with pytest.raises(ValueError, match=r"shape \(5, 2\).*got shape \(4, 2\)"):
        taps.perturb(Net(), variables, x, {"head": jnp.ones((4, 2))})
    with pytest.raises(ValueError, match=r"returns the structure PyTreeDef\(\(\*, None\)\).*got PyTreeDef\(\*\)"):
        taps.perturb(Net(), variables, x, {"first": 1.0})
