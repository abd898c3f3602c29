import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from nnmf import _mxnet
from nnmf.errors import ConfigError
from nnmf.networks import (
    NETWORKS,
    SEEN,
    build_network,
    draw,
    dropout_mlp,
    find_network,
    label_name,
    network,
    network_settings,
    one_layer_mlp,
    plain_net,
)

mx = _mxnet.load()

N_USERS, N_ITEMS, BATCH = 7, 5, 4
SMALL = {
    "plain": {"n_factors": 3},
    "one_layer_mlp": {"n_factors": 3, "hidden_units": 2},
    "dropout_mlp": {"n_factors": 3, "hidden_units": 2, "dropout": 0.0},
    "biased": {"n_factors": 3},
    "biased_mlp": {"n_factors": 3},
    "histories": {"n_factors": 3},
}


def inputs(symbol, seed=0):
    """Random values for every argument of a network."""
    rng = np.random.default_rng(seed)
    shapes, _, _ = symbol.infer_shape(user=(BATCH,), item=(BATCH,), rating=(BATCH,))
    values = {name: rng.normal(size=shape) for name, shape in zip(symbol.list_arguments(), shapes, strict=True)}
    if SEEN in values:
        values[SEEN] = rng.integers(0, 2, (N_USERS, N_ITEMS)).astype(float)
    values["user"], values["item"] = rng.integers(0, N_USERS, BATCH), rng.integers(0, N_ITEMS, BATCH)
    return values


def forward(symbol, values, train=False):
    arrays = {name: mx.nd.array(value) for name, value in values.items()}
    return symbol.bind(mx.cpu(), arrays).forward(is_train=train)[0].asnumpy()


@pytest.mark.parametrize("name", NETWORKS)
def test_predictions_are_the_docstring_s_formula(name):
    symbol = build_network(name, N_USERS, N_ITEMS, **SMALL[name])
    values = inputs(symbol)
    towers, biases = [], np.zeros(BATCH)
    for side in ("user", "item"):
        vector = tower = values[f"{side}_factors_weight"][values[side]]
        layer = next(
            (key[: -len("_weight")] for key in values if key in (f"{side}_tower_weight", f"{side}_layer_weight")), None
        )
        if layer:
            tower = np.maximum(tower, 0) @ values[f"{layer}_weight"].T + values.get(f"{layer}_bias", 0.0)
        if f"{side}_bias_weight" in values:
            biases += values[f"{side}_bias_weight"][values[side], 0]
            tower = tower + vector if layer else tower
        if SEEN in values:
            other = "item" if side == "user" else "user"
            for row, index in enumerate(values[side]):
                of = np.flatnonzero(values[SEEN][index] if side == "user" else values[SEEN][:, index])
                by = (3 * len(of) + 1) ** -0.5
                tower[row] += by * values[f"{other}_implicit_weight"][of].sum(axis=0)
                biases[row] += by * values[f"{other}_implicit_bias_weight"][of].sum()
        towers.append(tower)
    assert forward(symbol, values) == pytest.approx((towers[0] * towers[1]).sum(1) + biases, abs=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients(name):
    """The gradient that LinearRegressionOutput sends back is that of half the squared error, by finite differences."""
    symbol = build_network(name, N_USERS, N_ITEMS, **SMALL[name])
    values = inputs(symbol)
    for key in ("user_factors_weight", "item_factors_weight"):  # a difference across a ReLU's kink is no derivative
        values[key] = np.where(abs(values[key]) < 0.1, 0.1, values[key])
    parameters = [key for key in values if key not in ("user", "item", "rating", SEEN)]
    mx.test_utils.check_numeric_gradient(
        symbol.get_children()[0],
        {k: v for k, v in values.items() if k != "rating"},
        grad_nodes=parameters,
        rtol=0.02,
        atol=1e-3,
    )
    arrays = {key: mx.nd.array(value) for key, value in values.items()}
    gradients = {key: mx.nd.zeros(arrays[key].shape) for key in parameters}
    executor = symbol.bind(mx.cpu(), arrays, gradients)
    executor.forward(is_train=True)
    executor.backward()

    def loss(changed):
        return 0.5 * ((forward(symbol, changed) - values["rating"]) ** 2).sum()

    step = 1e-2  # in float32 a smaller one drowns in rounding
    for key in parameters:
        numeric = np.empty(values[key].shape)
        for at in np.ndindex(numeric.shape):
            sides = []
            for sign in (1, -1):
                changed = {**values, key: values[key].copy()}
                changed[key][at] += sign * step
                sides.append(loss(changed))
            numeric[at] = (sides[0] - sides[1]) / (2 * step)
        assert gradients[key].asnumpy() == pytest.approx(numeric, rel=0.05, abs=0.02)


def test_the_dropout_network_drops_out_in_training_only():
    symbol = dropout_mlp(N_USERS, N_ITEMS, n_factors=3, hidden_units=50, dropout=0.5)
    values = inputs(symbol)
    mx.random.seed(0)
    # Bound with gradients, as training does: MXNet's fused graph for inference alone has no Dropout in it.
    executor = symbol.simple_bind(mx.cpu(), user=(BATCH,), item=(BATCH,))
    for name, value in values.items():
        executor.arg_dict[name][:] = value
    draws = [executor.forward(is_train=True)[0].asnumpy() for _ in range(400)]
    assert not np.allclose(draws[0], draws[1])
    still = forward(symbol, values)
    assert np.array_equal(still, forward(symbol, values))
    # What is kept is scaled, so the mean over many draws is the prediction.
    spread = np.std(draws, axis=0) / np.sqrt(len(draws))
    assert np.all(np.abs(np.mean(draws, axis=0) - still) < 5 * spread)


@pytest.mark.parametrize("dropout", [-0.1, 1, 1.5])
def test_dropout_outside_its_range(dropout):
    with pytest.raises(ConfigError, match=f"dropout: got {dropout}"):
        dropout_mlp(N_USERS, N_ITEMS, dropout=dropout)


def test_tutorial_defaults():
    assert network_settings(plain_net) == {"n_factors": 64}
    assert network_settings(one_layer_mlp) == {"n_factors": 64, "hidden_units": 64}
    assert network_settings(dropout_mlp) == {"n_factors": 512, "hidden_units": 256, "dropout": 0.5}


@pytest.mark.parametrize("name", NETWORKS)
def test_feedforward_takes_a_network_as_it_is(name):
    symbol = NETWORKS[name](N_USERS, N_ITEMS)
    _, (shape,), _ = symbol.infer_shape(user=(BATCH,), item=(BATCH,), rating=(BATCH,))
    assert shape == (BATCH,)
    assert label_name(symbol) == "rating"
    weights = [key for key in symbol.list_arguments() if key.endswith("factors_weight")]
    assert weights == ["user_factors_weight", "item_factors_weight"]
    assert {f"{side}_tower_output" for side in ("user", "item")} <= set(symbol.get_internals().list_outputs())


def test_a_network_of_one_s_own(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(
        "from nnmf.networks import plain_net\n"
        "def narrow(n_users, n_items, n_factors=2):\n    return plain_net(n_users, n_items, n_factors)\n"
        "def nothing(n_users, n_items):\n    return 3\n"
        "value = 3\n"
    )
    (tmp_path / "broken_nets.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    symbol = build_network("my_nets:narrow", N_USERS, N_ITEMS)
    assert symbol.infer_shape(user=(1,), item=(1,))[0][1] == (N_USERS, 2)
    for name, message in [
        ("my_nets:wide", "module 'my_nets' has no function 'wide'"),
        ("my_nets:value", "has no function 'value'"),
        ("my_nets:nothing", "returned int, not an MXNet Symbol"),
        ("broken_nets:net", "importing 'broken_nets' for 'broken_nets:net' failed: ZeroDivisionError"),
        ("no_such_module:net", "ModuleNotFoundError"),
        (
            "deep",
            r"network: got 'deep' instead of one of \['biased', 'biased_mlp', 'dropout_mlp', 'histories', 'one_layer_mlp', 'plain'\]",
        ),
    ]:
        with pytest.raises(ConfigError, match=message):
            build_network(name, N_USERS, N_ITEMS)
    with pytest.raises(ConfigError, match=r"hidden_units: network 'plain' has no such setting; it has \['n_factors'\]"):
        build_network("plain", N_USERS, N_ITEMS, hidden_units=3)


def test_symbols_that_cannot_be_trained(monkeypatch):
    monkeypatch.setattr("nnmf._registry.NETWORKS", dict(NETWORKS))

    @network("no_loss")
    def no_loss(n_users, n_items):
        return plain_net(n_users, n_items).get_children()[0]

    @network("no_user")
    def no_user(n_users, n_items):
        return mx.sym.LinearRegressionOutput(mx.sym.Variable("item"), mx.sym.Variable("rating"))

    assert find_network("no_loss") is no_loss
    with pytest.raises(ConfigError, match=r"it must end in one of .* such as LinearRegressionOutput"):
        build_network("no_loss", 2, 2)
    with pytest.raises(ConfigError, match="must have the variables 'user' and 'item'"):
        build_network("no_user", 2, 2)


@pytest.mark.parametrize("name", NETWORKS)
def test_pictures_show_every_layer_and_need_no_other_program(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    symbol = build_network(name, 943, 1682)
    picture = ElementTree.parse(draw(symbol, tmp_path / "net.svg", title="a < b")).getroot()
    elements = list(picture.iter("{http://www.w3.org/2000/svg}text"))
    texts, kinds = (
        [element.text for element in elements if element.get("font-size") in sizes]
        for sizes in (("18", "13", "11"), ("13",))
    )
    assert texts[0] == "a < b"
    layers = [node["op"] for node in json.loads(symbol.tojson())["nodes"] if node["op"] != "null"]
    for layer in layers:
        shown = [text for text in kinds if text.startswith(layer.lstrip("_"))]
        assert len(shown) == layers.count(layer), layer
    assert "Embedding 943 x " + str(network_settings(NETWORKS[name])["n_factors"]) in texts
    assert ("Dropout p = 0.5" in texts) == (name == "dropout_mlp")
    assert texts.count("input") == 3 + (name == "histories") and not any(
        text.endswith(("_weight", "_bias")) for text in texts
    )


def test_pictures_that_cannot_be_drawn(tmp_path):
    symbol = build_network("plain", 2, 2)
    with pytest.raises(ConfigError, match=r"net.png'; name a file that ends in .svg .* needs Graphviz's program dot"):
        draw(symbol, tmp_path / "net.png")
    with pytest.raises(ConfigError, match="picture: got a str; give a Symbol"):
        draw("plain", tmp_path / "net.svg")
    assert not list(tmp_path.iterdir())


def test_the_pictures_in_docs_are_of_today_s_networks(tmp_path):
    docs = Path(__file__).parents[1] / "docs"
    for name in NETWORKS:
        drawn = draw(build_network(name, 943, 1682), tmp_path / f"{name}.svg")
        assert drawn.read_text() == (docs / f"{name}.svg").read_text()
