"""What moves a network's parameters: initial values, penalties, batches and steps, by the preset."""

from __future__ import annotations

import math
from typing import Any

from nnmf import _mxnet
from nnmf.config import TrainConfig
from nnmf.networks import SEEN, lookups, penalised
from nnmf.tables import Ratings, counts_of, deviation_of, in_stars, mean_of

from ._langevin import draws, name_at

mx: Any = _mxnet.load()

# Ratings that each row is penalised for beyond its own: what keeps the rows of few ratings near zero.
_PRIOR = 80.0
# Batches that follow the table: about so many an epoch, of so many rows, and of one for so many parameters, all of which a step
# goes over.
_BATCHES, _FEWEST_ROWS, _MOST_ROWS, _PARAMETERS_A_ROW = 100, 32, 2048, 10_000
# Rows of the batches that the learning rates are for.
TUNED_ROWS = 64
# Where gradients are cut off: of a table by so many of an ordinary rating's for each rating that its busiest row has in a batch, and so
# many ratings more; of a layer, which sees the mean of a batch, by a number. ML-100K stays below half of both, and is trained as
# without; a rare count of a thousand, which would throw the parameters too far to come back, is taken in over several steps.
_RATINGS_WORTH, _MORE_RATINGS, _OF_A_LAYER = 4.0, 8.0, 0.5


class SGD(mx.optimizer.SGD):
    """SGD whose momentum outlives a `fit`: FeedForward asks for new state each time, this answers with what it has."""

    def __init__(self, kept: dict[str, Any], **settings: Any) -> None:
        super().__init__(**settings)
        self.kept = kept
        # One update a parameter: on a CPU the fused update of several runs on one core, two of them run on two.
        self.aggregate_num = 1
        #: where the gradient of a parameter is cut off, by its name; None: nowhere
        self.bounds: dict[str, float] = {}

    def create_state(self, index: int, weight: Any) -> Any:
        name = name_at(self, index)
        kept = self.kept.get(name)
        if kept is not None:
            self.kept[name] = kept.as_in_context(weight.context)
        elif name not in self.kept:
            self.kept[name] = None if name == SEEN else super().create_state(index, weight)
        return self.kept[name]

    def update_multi_precision(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        (at,) = index if isinstance(index, (list, tuple)) else (index,)  # MXNet hands over lists of one
        name = name_at(self, at)
        if name == SEEN:  # what was rated is given, not learned
            return
        self.clip_gradient = self.bounds.get(name)
        super().update_multi_precision(index, weight, grad, state)


def is_tutorial(config: TrainConfig) -> bool:
    """Whether training is to be the tutorial's to the letter."""
    return config.preset == "tutorial"


def level(train: Ratings, negatives: int) -> tuple[float, float]:
    """Mean of what is trained on, and its spread as a multiple of that of 1 to 5 stars."""
    share = 1 / (1 + negatives)
    rating_mean = mean_of(train.rating)
    mean = share * rating_mean
    # Among the drawn zeros a rating's part of the variance is its share, and so is what lies between its mean and theirs.
    variance = share * deviation_of(train.rating) ** 2 + share * (1 - share) * rating_mean**2
    return mean, in_stars(math.sqrt(variance))


def rows_a_batch(n_rows: int, n_parameters: int) -> int:
    """Rows of a batch that follows the table, of ``n_rows`` an epoch: a power of two, unless they are all there is."""
    size = max(n_rows / _BATCHES, n_parameters / _PARAMETERS_A_ROW)
    return int(min(n_rows, 2 ** round(math.log2(min(max(_FEWEST_ROWS, size), _MOST_ROWS)))))


def busiest(train: Ratings) -> float:
    """Share of a table's ratings that the user or item with the most of them has."""
    columns = (train.user, train.n_users), (train.item, train.n_items)
    return max(int(counts_of(column, n).max()) for column, n in columns) / len(train)


def initializers(symbol: Any, config: TrainConfig) -> dict[str, Any]:
    """What draws the initial values of a network's tables of users and items; the rest begins as `other_initializer` has it."""
    if is_tutorial(config):
        return {}
    normal, zero = mx.init.Normal(config.init_std), mx.init.Zero()
    return {table.weight: zero if table.holds_biases else normal for table in lookups(symbol)}


def other_initializer(config: TrainConfig, shape: tuple[int, ...]) -> Any:
    """What draws the initial values of a parameter that is no table."""
    return mx.init.Uniform(0.01) if is_tutorial(config) or len(shape) < 2 else mx.init.Xavier()


def with_penalties(symbol: Any, config: TrainConfig) -> Any:
    """The network as it is trained: under another preset than the tutorial's, a table's rows pay at each of their ratings."""
    return symbol if is_tutorial(config) or draws(config) else penalised(symbol, _penalties(symbol, config))


def _penalties(symbol: Any, config: TrainConfig) -> dict[str, float]:
    """What a row of each table of users or items pays at each of its ratings, by the name of the table."""
    l2, bias_l2 = config.l2 or 0.0, config.bias_l2 or 0.0
    return {table.weight: l2 * (bias_l2 if table.holds_biases else 1.0) for table in lookups(symbol)}


def optimizer(
    symbol: Any,
    names: list[str],
    config: TrainConfig,
    kept: dict[str, Any],
    n_rows: int,
    batch_size: int,
    busiest: float,
) -> SGD:
    """The optimiser of a network.

    Parameters
    ----------
    symbol : Symbol
    names : list of str
        Its parameters, in the order in which it takes them.
    config : TrainConfig
    kept : dict
        Momentum by parameter, to go on with and to fill.
    n_rows, batch_size : int
        Rows an epoch, and a batch.
    busiest : float
        Share of the ratings that the user or item with the most of them has.
    """
    tutorial, l2 = is_tutorial(config), config.l2 or 0.0
    made = SGD(
        kept,
        momentum=config.momentum,
        wd=l2,
        rescale_grad=1 / batch_size,
        param_idx2name=dict(enumerate(names)),
        sym=symbol,
    )
    if not tutorial:
        tables = {table.weight for table in lookups(symbol)}
        # A step is for the mean of a batch, so this sums to `_PRIOR` ratings' worth over an epoch, whatever the batches are.
        made.set_wd_mult({**dict.fromkeys(names, 1.0), **dict.fromkeys(tables, _PRIOR / n_rows)})
        of_a_table = _RATINGS_WORTH * (_MORE_RATINGS / batch_size + busiest)
        made.bounds = {name: of_a_table if name in tables else _OF_A_LAYER for name in names}
        if config.batch_size is None:
            # A larger batch holds more ratings of a row, each of which moves it as far as ever; a layer sees their mean.
            made.set_lr_mult(dict.fromkeys(tables, batch_size / TUNED_ROWS))
    return made
