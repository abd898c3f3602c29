"""`Langevin`: an optimiser whose steps carry noise, so that it draws parameters from all that explain the ratings."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnmf import _mxnet
from nnmf.config import TrainConfig
from nnmf.errors import ConfigError
from nnmf.networks import SEEN, lookups, output_layer
from nnmf.tables import Ratings, counts_of

mx: Any = _mxnet.load()

# Ratings a batch: all, up to so many. Fewer bring noise of their own, which would add to that of the steps.
_MOST_ROWS = 1 << 18
# Ratings' worth of a setting of l2 = 1.
_PRIOR = 80.0
# Squared length of what a number of a table is multiplied by, about: another bias's 1, another vector's number.
_OF_BIASES, _OF_FACTORS = 1.0, 0.1
# Tables of histories move many predictions at once, so that their steps are shorter by so much,
# and by more where they are long.
_OF_HISTORIES, _OF_LENGTH = 8.0, 1 / 60


def draws(config: TrainConfig) -> bool:
    """Whether training is to draw parameters instead of seeking the best."""
    return bool(config.temperature)


def rows_a_draw(n_rows: int) -> int:
    """Ratings of a batch, of ``n_rows`` an epoch."""
    return min(n_rows, _MOST_ROWS)


def name_at(optimizer: Any, index: Any) -> str:
    """The parameter that an optimiser is asked to move: devices that share batches ask by its name, one alone by its number."""
    name: str = optimizer.idx2name.get(index, index)
    return name


class Langevin(mx.optimizer.Optimizer):
    """Stochastic gradient steps with momentum and noise, in which the parameters wander over their posterior.

    For the energy ``U = (sum of e^2 + sum of l2 w^2) / 2`` over all ratings, errors ``e`` in units, and the noise's variance T::

        m = momentum m - learning_rate s dU/dw + sqrt(2 (1 - momentum) learning_rate s T) xi,  w = w + m,  xi ~ N(0, 1)

    For small steps ``w`` is then drawn from ``exp(-U / T)``, whatever the positive numbers ``s``: each row of a table takes
    ``1 / (c n + l2)``, n its ratings, so that rows of many ratings and of few move alike.

    Parameters
    ----------
    kept : dict
        Momentum by parameter, to go on with and to fill.
    scales, l2 : dict of str to array or float
        s and l2 by parameter.
    **settings
        As `mx.optimizer.Optimizer` takes them.

    References
    ----------
    T. Chen, E. B. Fox, C. Guestrin, "Stochastic gradient Hamiltonian Monte Carlo", 2014.
    S. Ahn, A. Korattikara, N. Liu, S. Rajan, M. Welling, "Large-scale distributed Bayesian matrix factorization using
    stochastic gradient MCMC", 2015.
    """

    def __init__(
        self, kept: dict[str, Any], scales: dict[str, Any], l2: dict[str, float], momentum: float, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.kept, self.momentum, self._scales, self._l2 = kept, momentum, scales, l2
        self._rng, self._variance = np.random.default_rng(0), 0.0

    def begin_epoch(self, seed: int, epoch: int, variance: float) -> None:
        """Draw the noise of an epoch by its seed and number, with this T."""
        self._rng, self._variance = np.random.default_rng((seed, epoch)), variance

    def create_state(self, index: int, weight: Any) -> Any:
        name = name_at(self, index)
        if name == SEEN:
            return None
        kept = self.kept.get(name)
        self.kept[name] = (
            mx.nd.zeros(weight.shape, weight.context) if kept is None else kept.as_in_context(weight.context)
        )
        return self.kept[name]

    def update(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        self._update_count(index)
        name = name_at(self, index)
        if name == SEEN:
            return
        step = self._get_lr(index) * self._scales[name].as_in_context(weight.context)
        noise = mx.nd.array(self._rng.standard_normal(weight.shape, np.float32), weight.context)
        force = self.rescale_grad * grad + self._l2[name] * weight
        width = mx.nd.sqrt(2 * (1 - self.momentum) * self._variance * step)
        state[:] = self.momentum * state - step * force + width * noise
        weight[:] = weight + state


def langevin(
    symbol: Any,
    shapes: dict[str, tuple[int, ...]],
    config: TrainConfig,
    kept: dict[str, Any],
    train: Ratings,
    n_rows: int,
    batch_size: int,
) -> Langevin:
    """The optimiser of a network.

    Parameters
    ----------
    symbol : Symbol
    shapes : dict of str to tuple
        Of its parameters, in the order in which it takes them.
    config : TrainConfig
    kept : dict
        Momentum by parameter, to go on with and to fill.
    train : Ratings
    n_rows, batch_size : int
        Rows an epoch, and a step.

    Raises
    ------
    ConfigError
        A network that does not end in a squared error.
    """
    if output_layer(symbol) != "LinearRegressionOutput":
        raise ConfigError(
            f"temperature: is of squared errors, and the network ends in {output_layer(symbol)}; end it in "
            "LinearRegressionOutput, or leave temperature out."
        )
    counts = {"user": counts_of(train.user, train.n_users), "item": counts_of(train.item, train.n_items)}
    sides = {table.weight: table.side for table in lookups(symbol)}
    scales, l2 = {}, {}
    for name, shape in shapes.items():
        biases, implicit = name.endswith("bias_weight"), name.endswith(("implicit_weight", "implicit_bias_weight"))
        side = name.split("_")[0] if implicit else sides.get(name)
        times = _OF_BIASES if biases else _OF_FACTORS
        if implicit:
            other = counts["item" if side == "user" else "user"]
            times *= max(_OF_HISTORIES, _OF_LENGTH * float(np.sum(other * other) / np.sum(other)))
        count = counts[side][:, None] if side in counts else np.full((1,) * len(shape), n_rows)
        l2[name] = _PRIOR * (config.l2 or 0.0) * ((config.bias_l2 or 0.0) if biases else 1.0)
        scales[name] = mx.nd.array(1 / np.maximum(times * count + l2[name], 1.0))
    return Langevin(
        kept,
        scales,
        l2,
        config.momentum or 0.0,
        rescale_grad=n_rows / batch_size,
        param_idx2name=dict(enumerate(shapes)),
        sym=symbol,
    )
