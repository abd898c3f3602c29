"""The networks: functions that return an MXNet `Symbol` ending in ``LinearRegressionOutput``.

Each has the inputs ``user`` and ``item`` (index arrays of shape (batch_size,)) and the label ``rating`` (batch_size,), and
outputs predictions of shape (batch_size,). A network is the dot product of two towers, the nodes named ``user_tower`` and
``item_tower``; what looks for the nearest items or ranks them all needs just those.

A network of your own is one function with the arguments ``n_users`` and ``n_items`` first and its settings as keywords with
defaults, registered with `network` or named ``module:function``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnmf import _mxnet
from nnmf._drawing import draw
from nnmf._layers import biased, embedding, histories, indices, layer, product, relu, squared_loss
from nnmf._registry import (
    NETWORKS,
    TUTORIAL,
    Network,
    build_network,
    find_network,
    name_of,
    network,
    network_settings,
)
from nnmf._symbols import (
    OUTPUT_LAYERS,
    SEEN,
    by_row,
    check_graph,
    check_symbol,
    head_of,
    label_name,
    lookups,
    n_rows,
    output_layer,
    penalised,
    prediction_of,
    why_not_by_row,
    with_head,
)
from nnmf.errors import ConfigError

if TYPE_CHECKING:
    from mxnet.symbol import Symbol

__all__ = [
    "NETWORKS",
    "OUTPUT_LAYERS",
    "SEEN",
    "TUTORIAL",
    "Network",
    "biased_mlp",
    "biased_net",
    "build_network",
    "by_row",
    "check_graph",
    "check_symbol",
    "draw",
    "dropout_mlp",
    "find_network",
    "head_of",
    "histories_net",
    "label_name",
    "lookups",
    "n_rows",
    "name_of",
    "network",
    "network_settings",
    "one_layer_mlp",
    "output_layer",
    "penalised",
    "plain_net",
    "prediction_of",
    "why_not_by_row",
    "with_head",
]

_mxnet.mend_numpy()  # so that ``import mxnet as mx``, as the tutorial begins, works from here on


@network("plain")
def plain_net(n_users: int, n_items: int, n_factors: int = 64) -> Symbol:
    """Dot product of a user and an item embedding: ``prediction = p_u . q_i``.

    Parameters
    ----------
    n_users, n_items : int
        Sizes of the embedding tables.
    n_factors : int, default=64
        Width of the embeddings.

    References
    ----------
    Koren, Bell, Volinsky, "Matrix factorization techniques for recommender systems", 2009, equation 1; MXNet's tutorial
    "Matrix Factorization", ``plain_net``.
    """
    index = indices()
    return _dot(
        embedding(index["user"], n_users, n_factors, name="user_tower"),
        embedding(index["item"], n_items, n_factors, name="item_tower"),
        n_factors,
    )


@network("one_layer_mlp")
def one_layer_mlp(n_users: int, n_items: int, n_factors: int = 64, hidden_units: int = 64) -> Symbol:
    """Dot product of two towers, each an embedding, a ReLU and a fully connected layer.

    ``prediction = (A relu(p_u) + a) . (B relu(q_i) + b)``

    Parameters
    ----------
    n_users, n_items : int
        Sizes of the embedding tables.
    n_factors : int, default=64
        Width of the embeddings.
    hidden_units : int, default=64
        Width of the layer above them.

    References
    ----------
    MXNet's tutorial "Matrix Factorization", ``get_one_layer_mlp``.
    """
    index = indices()
    return _dot(
        layer(index["user"], n_users, n_factors, hidden_units, name="user_tower"),
        layer(index["item"], n_items, n_factors, hidden_units, name="item_tower"),
        hidden_units,
    )


@network("dropout_mlp")
def dropout_mlp(
    n_users: int, n_items: int, n_factors: int = 512, hidden_units: int = 256, dropout: float = 0.5
) -> Symbol:
    """`one_layer_mlp` whose towers' outputs are dropped with probability ``dropout`` in training.

    Parameters
    ----------
    n_users, n_items : int
        Sizes of the embedding tables.
    n_factors : int, default=512
        Width of the embeddings.
    hidden_units : int, default=256
        Width of the layer above them.
    dropout : float, default=0.5
        Probability with which an output is dropped, in [0, 1); what is kept is scaled by 1 / (1 - dropout).

    References
    ----------
    MXNet's tutorial "Matrix Factorization", ``get_one_layer_dropout_mlp`` (which its run never trains).
    """
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout: got {dropout}; give a probability of at least 0 and below 1.")
    mx = _mxnet.load()
    index = indices()
    user = layer(index["user"], n_users, n_factors, hidden_units, name="user_layer")
    item = layer(index["item"], n_items, n_factors, hidden_units, name="item_layer")
    index = indices()
    return _dot(
        mx.sym.Dropout(user, p=dropout, name="user_tower"),
        mx.sym.Dropout(item, p=dropout, name="item_tower"),
        hidden_units,
    )


@network("biased")
def biased_net(n_users: int, n_items: int, n_factors: int = 32) -> Symbol:
    """`plain_net` with a bias of each user and of each item: ``prediction = b_u + b_i + p_u . q_i``.

    Parameters
    ----------
    n_users, n_items : int
        Sizes of the embedding tables.
    n_factors : int, default=32
        Width of the embeddings.

    References
    ----------
    Koren, Bell, Volinsky, "Matrix factorization techniques for recommender systems", 2009, equation 4.
    """
    index = indices()
    user, item = (
        embedding(index[side], n, n_factors, f"{side}_tower") for side, n in (("user", n_users), ("item", n_items))
    )
    return squared_loss(biased(index, product(user, item, n_factors, "dot"), n_users, n_items))


@network("biased_mlp")
def biased_mlp(n_users: int, n_items: int, n_factors: int = 32) -> Symbol:
    """`biased_net` whose towers are an embedding and what a ReLU and a fully connected layer add to it.

    ``prediction = b_u + b_i + (p_u + A relu(p_u)) . (q_i + B relu(q_i))``

    Parameters
    ----------
    n_users, n_items : int
        Sizes of the embedding tables.
    n_factors : int, default=32
        Width of the embeddings, and of the layers.

    References
    ----------
    He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2016: what is added to its own input begins as little.
    """
    mx, index = _mxnet.load(), indices()
    towers = []
    for side, n in (("user", n_users), ("item", n_items)):
        rows = embedding(index[side], n, n_factors, f"{side}_embedding")
        more = mx.sym.FullyConnected(relu(rows, side), num_hidden=n_factors, no_bias=True, name=f"{side}_layer")
        towers.append(mx.sym.elemwise_add(rows, more, name=f"{side}_tower"))
    return squared_loss(biased(index, product(towers[0], towers[1], n_factors, "dot"), n_users, n_items))


@network("histories")
def histories_net(n_users: int, n_items: int, n_factors: int = 16) -> Symbol:
    """`biased_net` in which who rated what counts as well: SVD++'s term, for users and for items.

    ``prediction = b_u + b_i + g_u . y + g_i . x + (p_u + Y' g_u) . (q_i + X' g_i)``, where ``g_u`` is ``1 / sqrt(3 n_u + 1)`` at the n_u
    items that the user rated in training and zero elsewhere, and ``g_i`` likewise at the users that rated the item; Y and X are
    tables of implicit factors of items and users, y and x their biases.

    What was rated is the array `nnmf.networks.SEEN` of shape (n_users, n_items), which training fills and never changes, and each step
    multiplies: for tables of up to some 10,000 users and items.

    Parameters
    ----------
    n_users, n_items : int
        Sizes of the embedding tables.
    n_factors : int, default=16
        Width of the embeddings.

    References
    ----------
    Koren, "Factorization meets the neighborhood", 2008, equation 15; Rendle, Zhang, Koren, "On the difficulty of evaluating baselines",
    2019, whose "flipped" term is that of the items.
    """
    mx, index = _mxnet.load(), indices()
    sizes, seen = {"user": n_users, "item": n_items}, mx.sym.BlockGrad(mx.sym.Variable(SEEN, shape=(n_users, n_items)))
    towers = [histories(seen, index[side], sizes, n_factors, f"{side}_tower") for side in sizes]
    offsets = [histories(seen, index[side], sizes, 1, f"{side}_offset", "bias") for side in sizes]
    terms = [mx.sym.reshape(offset, (-1,)) for offset in offsets]
    dot = product(towers[0], towers[1], n_factors, "dot")
    return squared_loss(mx.sym.add_n(dot, *terms, name="prediction"))


def _dot(user: Symbol, item: Symbol, width: int) -> Symbol:
    return squared_loss(product(user, item, width))
