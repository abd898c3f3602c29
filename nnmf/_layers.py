"""The layers that this package's networks are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnmf import _mxnet

if TYPE_CHECKING:
    from mxnet.symbol import Symbol

__all__ = ["biased", "embedding", "histories", "indices", "layer", "product", "relu", "squared_loss"]


# A row of a history counts as much less than an own one: what a penalty of three times that of the own rows comes to.
_HISTORY_WEIGHT = 3.0


def indices() -> dict[str, Symbol]:
    """The inputs, by side."""
    return {side: _mxnet.load().sym.Variable(side) for side in ("user", "item")}


def embedding(index: Symbol, n: int, width: int, name: str, what: str = "factors") -> Symbol:
    """Rows of a side's table: (batch_size, width)."""
    mx, side = _mxnet.load(), index.name
    # MXNet's weight decay reaches parameters named *_weight only.
    weight = mx.sym.Variable(f"{side}_{what}_weight")
    return mx.sym.Embedding(index, weight, input_dim=n, output_dim=width, name=name)


def histories(
    seen: Symbol, index: Symbol, sizes: dict[str, int], width: int, name: str, what: str = "factors"
) -> Symbol:
    """Rows of a side's table, and over the root of their number those of the other side's that it was rated with: (batch_size, width)."""
    mx, side = _mxnet.load(), index.name
    other, of_user = ("item" if side == "user" else "user"), side == "user"
    # Zeros, for the gradient of a sum over a history begins with the other tower's.
    weight = mx.sym.Variable(
        f"{other}_implicit_{what}_weight".replace("_factors", ""),
        shape=(sizes[other], width),
        init=mx.init.Zero(),
    )
    total = mx.sym.dot(seen, weight, transpose_a=not of_user)
    number = mx.sym.dot(seen, mx.sym.ones((sizes[other], 1)), transpose_a=not of_user)
    table = mx.sym.broadcast_div(total, mx.sym.sqrt(number * _HISTORY_WEIGHT + 1))
    own = embedding(index, sizes[side], width, f"{name}_own", what)
    more = mx.sym.Embedding(index, table, input_dim=sizes[side], output_dim=width)
    return mx.sym.elemwise_add(own, more, name=name)


def relu(data: Symbol, side: str) -> Symbol:
    """A side's vectors, nothing of them below zero."""
    return _mxnet.load().sym.Activation(data, act_type="relu", name=f"{side}_relu")


def layer(index: Symbol, n: int, n_factors: int, hidden_units: int, name: str) -> Symbol:
    """An embedding, a ReLU and a fully connected layer: (batch_size, hidden_units)."""
    side = index.name
    active = relu(embedding(index, n, n_factors, f"{side}_embedding"), side)
    return _mxnet.load().sym.FullyConnected(active, num_hidden=hidden_units, name=name)


def product(user: Symbol, item: Symbol, width: int, name: str = "prediction") -> Symbol:
    """Row-wise dot product of two (batch_size, width) towers: (batch_size,)."""
    mx = _mxnet.load()
    # A product with ones sums each row 8 times faster than `sum` over an axis does on a CPU (32 us against 260 at 1024 x 64).
    return mx.sym.dot(mx.sym.elemwise_mul(user, item, name="product"), mx.sym.ones((width,), name="ones"), name=name)


def biased(index: dict[str, Symbol], dot: Symbol, n_users: int, n_items: int) -> Symbol:
    """A product with a bias of each user and of each item added: (batch_size,)."""
    mx = _mxnet.load()
    terms = [dot]
    for side, n in (("user", n_users), ("item", n_items)):
        bias = embedding(index[side], n, 1, f"{side}_offset", "bias")
        terms.append(mx.sym.reshape(bias, (-1,), name=f"{side}_offsets"))
    return mx.sym.add_n(*terms, name="prediction")


def squared_loss(prediction: Symbol) -> Symbol:
    """The prediction, trained by the squared error from ``rating``."""
    mx = _mxnet.load()
    return mx.sym.LinearRegressionOutput(prediction, mx.sym.Variable("rating"), name="output")
