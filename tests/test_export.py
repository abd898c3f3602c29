"""ONNX files, run by onnxruntime and compared with what MXNet's own forward pass or NumPy answers."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from nnmf import _mxnet, fit
from nnmf.errors import BackendError, ConfigError, DataError
from nnmf.networks import NETWORKS, SEEN, build_network
from nnmf.onnx import _graph as onnx_graph
from nnmf.onnx._export import export_factors_onnx, export_onnx
from nnmf.testing import low_rank

mx = _mxnet.load()
N_USERS, N_ITEMS, WIDTH = 60, 40, 4
rng = np.random.default_rng(7)
needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxruntime")),
    reason="needs onnx and onnxruntime: pip install 'nnmf[onnx]' onnxruntime",
)


VARIABLES = {}


def variable(side):
    """The one input of a side: a network must use the same object wherever it uses the input."""
    return VARIABLES.setdefault(side, mx.sym.Variable(side))


@pytest.fixture(scope="module", autouse=True)
def no_symbol_outlives_mxnet():
    yield
    VARIABLES.clear()


def inputs(n):
    return rng.integers(0, N_USERS, n), rng.integers(0, N_ITEMS, n)


def random_parameters(symbol):
    shapes, _, aux_shapes = symbol.infer_shape(user=(5,), item=(5,))
    named = zip(symbol.list_arguments() + symbol.list_auxiliary_states(), shapes + aux_shapes, strict=True)
    return {
        # variances must be positive
        name: mx.nd.array(
            rng.integers(0, 2, shape)
            if name == SEEN
            else rng.uniform(0.5, 1.5, shape)
            if name.endswith("_var")
            else rng.normal(0, 0.5, shape)
        )
        for name, shape in named
        if name not in ("user", "item", "rating")
    }


def mxnet_answer(symbol, parameters, user, item):
    values = {name: parameters[name] for name in symbol.list_arguments() if name in parameters}
    values |= {"user": mx.nd.array(user, dtype=np.int32), "item": mx.nd.array(item, dtype=np.int32)}
    values["rating"] = mx.nd.zeros(len(user))
    states = {name: parameters[name] for name in symbol.list_auxiliary_states()}
    executor = symbol.bind(mx.cpu(), values, aux_states=states, grad_req="null")
    return executor.forward(is_train=False)[0].asnumpy().reshape(-1)


def session(path):
    return pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])


def onnx_answer(path, user, item):
    (answer,) = session(path).run(["rating"], {"user": user.astype(np.int64), "item": item.astype(np.int64)})
    assert answer.dtype == np.float32
    return answer


def check(symbol, path, sizes=(1, 3, 1000)):
    """Export a network with random parameters and compare the two answers."""
    parameters = random_parameters(symbol)
    export_onnx(symbol, [parameters], path)
    for n in sizes:
        user, item = inputs(n)
        expected = mxnet_answer(symbol, parameters, user, item)
        assert expected.shape == (n,)
        np.testing.assert_allclose(onnx_answer(path, user, item), expected, rtol=1e-5, atol=1e-5)
    return parameters


def embedding(side, width=WIDTH, name=None):
    index, n = variable(side), N_USERS if side == "user" else N_ITEMS
    return mx.sym.Embedding(index, input_dim=n, output_dim=width, name=name or f"{side}_factors")


def output(prediction):
    return mx.sym.LinearRegressionOutput(prediction, mx.sym.Variable("rating"), name="output")


def neumf():
    """A product of embeddings beside a perceptron over other ones, and biases: as in "Neural Collaborative Filtering"."""
    S = mx.sym
    hidden = S.concat(embedding("user", 6, "user_mlp"), embedding("item", 5, "item_mlp"), dim=1)
    for n in (16, 8):
        hidden = S.FullyConnected(hidden, num_hidden=n, no_bias=n == 16, name=f"layer{n}")
        hidden = S.BatchNorm(hidden, **({} if n == 16 else {"fix_gamma": False, "eps": 2e-4}), name=f"norm{n}")
        hidden = S.Dropout(S.Activation(hidden, act_type="relu"), p=0.3)
    both = S.concat(embedding("user") * embedding("item"), hidden, dim=1)
    biases = [S.reshape(embedding(side, 1, f"{side}_bias"), shape=(-1,)) for side in ("user", "item")]
    mean = S.Variable("mean", shape=(1,))
    score = S.Flatten(S.FullyConnected(both, num_hidden=1, name="score")).reshape((-1,))
    return output(S.broadcast_add(score + biases[0] + biases[1], mean))


@needs_onnx
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_each_network_answers_as_in_mxnet(name, tmp_path):
    check(build_network(name, N_USERS, N_ITEMS, n_factors=16), tmp_path / "model.onnx")


@needs_onnx
def test_a_network_of_one_s_own_answers_as_in_mxnet(tmp_path):
    parameters = check(neumf(), tmp_path / "model.onnx")
    tables = {tensor.name for tensor in pytest.importorskip("onnx").load(tmp_path / "model.onnx").graph.initializer}
    assert parameters.keys() - tables == {"norm16_gamma"}  # fixed, so not of use


# One line an operator, on u and i of shape (batch, 4); what is left is summed to a rating.
OPERATORS = {
    "elemwise": lambda S, u, i: (u + i) * (u - i) / (S.square(i) + 1),
    "scalars": lambda S, u, i: (1 - u) * 3 + (u * u + 2) ** 1.5 - 2**i + 1 / (S.abs(i) + 1) - u / 4 - 0.5,
    "functions": lambda S, u, i: S.exp(u) + S.log(S.abs(i) + 1) + S.sqrt(S.abs(u)) - S.negative(i) + S.softsign(u),
    "activations": lambda S, u, i: S.relu(u) + S.sigmoid(i) * S.tanh(u),
    "Activation": lambda S, u, i: S.add_n(
        *(S.Activation(u * i, act_type=kind) for kind in ("relu", "sigmoid", "tanh", "softrelu", "softsign"))
    ),
    "LeakyReLU": lambda S, u, i: (
        S.LeakyReLU(u)
        + S.LeakyReLU(i, act_type="leaky", slope=0.1)
        + S.LeakyReLU(u - i, act_type="elu", slope=0.7)
        + S.LeakyReLU(u * i, act_type="selu")
    ),
    "clip": lambda S, u, i: S.clip(u, -0.3, 0.2) + S.clip(i, 0, float("inf")),
    "broadcast": lambda S, u, i: S.broadcast_div(
        S.broadcast_mul(S.broadcast_sub(u, S.slice_axis(i, axis=1, begin=0, end=1)), i), S.full((1,), 2.5)
    ),
    "reduce": lambda S, u, i: (
        S.broadcast_add(u, S.mean(i, axis=-1, keepdims=True) + S.max(u, axis=-2, exclude=True, keepdims=True))
    ),
    "reduce all of a table": lambda S, u, i: S.broadcast_add(u, S.sum(S.Variable("table", shape=(3, 2)))),
    "reduce, then multiply": lambda S, u, i: S.dot(
        S.sum(S.reshape(u * i, (0, 2, 2)), axis=1), S.Variable("table", shape=(2, 3))
    ),
    "min of two axes": lambda S, u, i: S.broadcast_mul(
        u, S.expand_dims(S.min(S.reshape(i, (0, 2, 2)), axis=(1, 2)), axis=1)
    ),
    "slice_axis": lambda S, u, i: S.concat(
        S.slice_axis(u, axis=1, begin=1, end=None), S.slice_axis(i, axis=-1, begin=-3, end=-1), dim=1
    ),
    "dot": lambda S, u, i: S.dot(u, S.Variable("square", shape=(3, 4)), transpose_b=True),
    "dot with a vector": lambda S, u, i: S.expand_dims(S.dot(u * i, S.Variable("vector", shape=(4,))), axis=1),
    "batch_dot": lambda S, u, i: S.squeeze(
        S.batch_dot(S.expand_dims(u, 1), S.expand_dims(i, 1), transpose_b=True), axis=2
    ),
    "batch_dot, transposed": lambda S, u, i: S.Flatten(
        S.batch_dot(S.expand_dims(u, 1), S.expand_dims(i, 1), transpose_a=True)
    ),
    "Reshape": lambda S, u, i: S.reshape(S.reshape(u, (-1, 2, 2)), (0, -3)) + S.reshape(i, (-4, -1, 1, -2)).reshape((-3, -2)),
    "flattening FullyConnected": lambda S, u, i: S.FullyConnected(S.reshape(u * i, (0, 2, 2)), num_hidden=3),
    "row-wise FullyConnected": lambda S, u, i: S.Flatten(
        S.FullyConnected(S.reshape(u, (0, 2, 2)), num_hidden=3, flatten=False, no_bias=True)
        + S.FullyConnected(S.reshape(i, (0, 2, 2)), num_hidden=3, flatten=False)
    ),
    "FullyConnected of a vector": lambda S, u, i: S.FullyConnected(S.sum(u * i, axis=1), num_hidden=3),
    "broadcast_to": lambda S, u, i: (
        S.broadcast_to(S.sum(i, axis=1, keepdims=True), (0, 4)) + S.broadcast_axis(S.slice_axis(u, axis=1, begin=0, end=1), axis=1, size=4)
    ),
    "BatchNorm of three axes": lambda S, u, i: S.Flatten(S.BatchNorm(S.reshape(u * i, (0, 2, 2)), fix_gamma=False)),
    "passed through": lambda S, u, i: S.BlockGrad(u) + S.identity(i) + S.Dropout(u, p=0.9),
    "zeros": lambda S, u, i: S.broadcast_add(u * i, S.zeros((4,)) + S.ones((4,))),
    "sparse embedding": lambda S, u, i: u * S.Embedding(
        variable("item"), input_dim=N_ITEMS, output_dim=WIDTH, sparse_grad=True
    ),
    "embedding of reshaped indices": lambda S, u, i: u * S.Flatten(
        S.Embedding(S.expand_dims(variable("item"), 1), S.Variable("shared_weight"), input_dim=N_ITEMS, output_dim=4)
    ),
}  # fmt: skip


@needs_onnx
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_answer_as_in_mxnet(name, tmp_path):
    found = OPERATORS[name](mx.sym, embedding("user"), embedding("item"))
    # The other side must be in the network too.
    whole = mx.sym.sum(found, axis=1) + mx.sym.sum(embedding("user", 2, "u") * embedding("item", 2, "i"), axis=1)
    check(output(whole), tmp_path / "model.onnx", sizes=(1, 2, 3, 50))


@needs_onnx
@pytest.mark.parametrize("layer", ["LinearRegressionOutput", "MAERegressionOutput", "LogisticRegressionOutput"])
def test_output_layers_and_a_prediction_of_shape_batch_by_1(layer, tmp_path):
    prediction = mx.sym.sum(embedding("user") * embedding("item"), axis=1, keepdims=True)
    check(getattr(mx.sym, layer)(prediction, mx.sym.Variable("rating")), tmp_path / "model.onnx")


@needs_onnx
def test_nodes_of_one_name_and_parameters_named_like_inputs_are_told_apart(tmp_path):
    S = mx.sym
    u = S.Activation(embedding("user", name="same"), act_type="relu", name="twin")
    i = S.Activation(embedding("item", name="other"), act_type="tanh", name="twin")
    check(
        output(S.sum(S.broadcast_add(u * i, S.Variable("rating_1", shape=(4,))), axis=1, name="rating")), tmp_path / "m"
    )


@needs_onnx
def test_the_file_holds_what_prediction_needs_and_no_more(tmp_path):
    import onnx

    symbol = build_network("dropout_mlp", N_USERS, N_ITEMS, n_factors=8, hidden_units=4)
    arrays = {name: value.asnumpy() for name, value in random_parameters(symbol).items()}
    path = tmp_path / "model.onnx"
    export_onnx(
        symbol, [arrays | {"elsewhere_weight": np.zeros((2, 2))}], str(path), metadata={"network": "dropout_mlp"}
    )
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    model = onnx.load(str(path))
    assert [node.op_type for node in model.graph.node] == [
        *["Gather", "Relu", "Gemm"] * 2,
        *["Mul", "MatMul", "Reshape", "Identity"],
    ]
    kept = {tensor.name for tensor in model.graph.initializer}
    assert arrays.keys() <= kept
    assert "elsewhere_weight" not in kept
    assert (model.opset_import[0].version, model.ir_version) == (13, 7)
    found = session(path)
    assert found.get_modelmeta().custom_metadata_map == {"network": "dropout_mlp"}
    assert [(x.name, x.type, x.shape) for x in (*found.get_inputs(), *found.get_outputs())] == [
        ("user", "tensor(int64)", ["batch"]),
        ("item", "tensor(int64)", ["batch"]),
        ("rating", "tensor(float)", ["batch"]),
    ]


@needs_onnx
def test_indices_beyond_the_tables_are_refused_by_onnxruntime(tmp_path):
    check(build_network("plain", N_USERS, N_ITEMS), tmp_path / "model.onnx")
    with pytest.raises(Exception, match="indices element out of data bounds"):
        onnx_answer(tmp_path / "model.onnx", np.array([N_USERS]), np.array([0]))


@needs_onnx
def test_factor_models_answer_as_in_numpy(tmp_path):
    p, q = rng.normal(size=(N_USERS, 8)), rng.normal(size=(N_ITEMS, 8))
    b, c = rng.normal(size=N_USERS), rng.normal(size=N_ITEMS)
    path = tmp_path / "svd.onnx"
    export_factors_onnx(p, q, b, c, 3, path, metadata={"model": "svd"})
    for n in (1, 3, 1000):
        user, item = inputs(n)
        expected = 3 + b[user] + c[item] + (p[user] * q[item]).sum(1)
        np.testing.assert_allclose(onnx_answer(path, user, item), expected, rtol=1e-5, atol=1e-5)
    assert session(path).get_modelmeta().custom_metadata_map == {"model": "svd"}


# Layers on u and i of shape (batch, 4), by what the refusal says of them.
REFUSED_LAYERS = {
    "operator 'sin' (node 'wave') cannot be exported to ONNX; networks of the operators [": lambda S, u, i: S.sin(
        u, name="wave"
    ),
    "operator '_copy' (node 'half') cannot be exported to ONNX with any but the first output of another.": (
        lambda S, u, i: S.identity(S.BatchNorm(u, output_mean_var=True, name="means")[1], name="half")
    ),
    "operator 'LeakyReLU' (node 'bent') cannot be exported to ONNX with act_type='gelu'.": lambda S, u, i: S.LeakyReLU(
        u, act_type="gelu", name="bent"
    ),
    "over any axis but 1.": lambda S, u, i: S.Flatten(S.BatchNorm(S.reshape(u, (0, 2, 2)), axis=2, name="norm")),
    "with mode='always'.": lambda S, u, i: S.Dropout(u, mode="always"),
    "of more than 2 axes.": lambda S, u, i: S.Flatten(S.dot(S.reshape(u, (0, 2, 2)), S.ones((2, 3)))),
    "with a shape that depends on the batch.": lambda S, u, i: u + S.zeros((0, 4)),
    "where two axes of its output depend on the batch.": lambda S, u, i: S.sum(
        S.expand_dims(S.dot(u, i, transpose_b=True), 1), axis=1
    ),
    "parameter 'unheard_of' has no value": lambda S, u, i: u + S.Variable("unheard_of"),
    "does not fit its parameters or batches of any length (MXNetError: Error in operator ": lambda S, u, i: (
        u + S.ones((2, 4))
    ),
    "leave open, so it cannot be exported to ONNX.": lambda S, u, i: S.broadcast_add(u, S.zeros((1, 0))),
    # integers and real numbers, which MXNet adds and ONNX does not
    "its translation to ONNX is not valid (": lambda S, u, i: S.broadcast_add(
        u, S.expand_dims(variable("user"), 1) + 0.5
    ),
}


def refusal(symbol, path):
    """The sentence that refuses this network of `embedding` tables."""
    arrays = {f"{side}_factors_weight": np.zeros((n, WIDTH)) for side, n in (("user", N_USERS), ("item", N_ITEMS))}
    arrays |= {f"norm_{name}": np.zeros(2) for name in ("gamma", "beta", "moving_mean", "moving_var")}
    arrays |= {f"means_{name}": np.zeros(4) for name in ("gamma", "beta", "moving_mean", "moving_var")}
    with pytest.raises(ConfigError) as caught:
        export_onnx(symbol, [arrays], path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.startswith("network: ")
    assert sentence.endswith(".")
    assert not list(path.parent.iterdir())
    return sentence


@needs_onnx
@pytest.mark.filterwarnings("ignore:Cannot decide shape")
@pytest.mark.parametrize("sentence", REFUSED_LAYERS)
def test_layers_without_a_translation_are_refused(sentence, tmp_path):
    user, item = embedding("user"), embedding("item")
    layer = REFUSED_LAYERS[sentence](mx.sym, user, item)
    symbol = output(mx.sym.sum(layer, axis=1) + mx.sym.sum(user * item, axis=1))
    assert sentence in refusal(symbol, tmp_path / "model.onnx")


@needs_onnx
def test_a_network_must_give_one_number_a_row(tmp_path):
    assert "one number a row" in refusal(output(embedding("user") * embedding("item")), tmp_path / "model.onnx")


@needs_onnx
def test_parameters_over_2_gb_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, "_MAX_BYTES", 100)
    zeros = np.zeros((10, 4)), np.zeros((10, 4)), np.zeros(10), np.zeros(10)
    with pytest.raises(ConfigError, match="holds up to 2 GB, the parameters of this model take 0"):
        export_factors_onnx(*zeros, 0.0, tmp_path / "svd.onnx")


@needs_onnx
def test_a_folder_that_is_not_there_is_named(tmp_path):
    zeros = np.zeros((10, 4)), np.zeros((10, 4)), np.zeros(10), np.zeros(10)
    with pytest.raises(DataError, match=r"nowhere.svd\.onnx: cannot be written"):
        export_factors_onnx(*zeros, 0.0, tmp_path / "nowhere" / "svd.onnx")


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)  # makes its import fail
    symbol = build_network("plain", N_USERS, N_ITEMS)
    with pytest.raises(BackendError, match=r"needs the package onnx: pip install 'onnx>=1\.16'"):
        export_onnx(symbol, [random_parameters(symbol)], tmp_path / "model.onnx")


def test_importing_it_needs_neither_mxnet_nor_onnx():
    code = "import sys, nnmf.onnx; assert not {'mxnet', 'onnx'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_file_to_export_to_is_called_a_file():
    model = fit("svd", low_rank(), n_epochs=1)
    with pytest.raises(ConfigError, match=r"file: got None; give the path of a file\."):
        model.export_onnx(None)
