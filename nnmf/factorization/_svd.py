"""Funk SVD, biased SVD and SVD++: factorization by stochastic gradient descent in compiled loops; needs no MXNet."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from nnmf.models import Tick
from nnmf.tables import Ratings

from . import _kernels
from ._model import Factorization
from ._schedule import Schedule, UserSchedule


class FunkSVD(Factorization):
    """Funk's factorization: the prediction is the dot product alone.

    Prediction: ``r_ui = p_u . q_i``.

    Objective: the sum over the ratings of ``(r - r_ui)^2 + l2_u |p_u|^2 + l2_i |q_i|^2``, with a row's penalty
    ``l2 * (n / mean n) ** l2_power`` by its number n of ratings, paid at each of them.

    Update, at each rating, both from the old values, with e = r - r_ui::

        p_u <- p_u + learning_rate * (e * q_i / unit - l2_u * p_u)
        q_i <- q_i + learning_rate * (e * p_u / unit - l2_i * q_i)

    with `unit` the spread of the ratings over that of 1 to 5 stars, 1.125, so that any scale is trained alike. Initial factors are
    normal about ``sqrt(mean rating / n_factors)``, with standard deviation ``init_std * sqrt(unit)``, so that the first predictions are the mean rating.

    Cold start: the mean rating of the known side, else of all.

    Args:
        config: settings; those at None take `defaults`.
        settings: single settings over ``config``: n_factors=64, n_epochs=40, learning_rate=.02, l2=.07, l2_power=0,
            init_std=.01, schedule="linear", seed=0, n_threads=all cores (the factors are the same for any number), patience.

    Attributes:
        user_factors: float32 array of shape (n_users, n_factors).
        item_factors: float32 array of shape (n_items, n_factors).

    Raises:
        ConfigError: a setting that cannot be used, or that this model has not.

    References:
        S. Funk, "Netflix Update: Try This at Home", 2006, https://sifter.org/~simon/journal/20061211.html
    """

    kind = "funk_svd"
    _kernel = staticmethod(_kernels.train_funk)
    defaults: ClassVar[dict[str, Any]] = {
        "n_factors": 64,
        "n_epochs": 40,
        "learning_rate": 0.02,
        "l2": 0.07,
        "l2_power": 0.0,
        "init_std": 0.01,
        "schedule": "linear",
    }

    def _centre(self, name: str) -> float:
        if not self.config.init_std:
            return 0.0
        centre = math.sqrt(abs(self.global_mean) / self.n_factors)
        return math.copysign(centre, self.global_mean) if name == "item_factors" else centre

    def _arguments(self, learning_rate: float) -> tuple[Any, ...]:
        return *(self.parameters[name] for name in self.tables), learning_rate, self.unit, *self._l2


class SVD(Factorization):
    """Biased factorization: global mean, user and item biases and the dot product (the course notebook's "SVD++").

    Prediction: ``r_ui = mu + b_u + b_i + p_u . q_i``, mu the mean training rating.

    Objective: the sum over the ratings of
    ``(r - r_ui)^2 + l2_u |p_u|^2 + l2_i |q_i|^2 + bias_l2 * (l2_u b_u^2 + l2_i b_i^2)``, with a row's penalty
    ``l2 * (n / mean n) ** l2_power`` by its number n of ratings, paid at each of them.

    Update, at each rating, from the old values, with e = r - r_ui::

        b_u <- b_u + learning_rate * (e - bias_l2 * l2_u * b_u)        b_i likewise
        p_u <- p_u + learning_rate * (e * q_i / unit - l2_u * p_u)
        q_i <- q_i + learning_rate * (e * p_u / unit - l2_i * q_i)

    with `unit` as in `FunkSVD`. Initial biases are zero, initial factors normal with standard deviation
    ``init_std * sqrt(unit)``.

    Cold start: an unknown item is answered with ``mu + b_u``, an unknown user with ``mu + b_i``, both with mu.

    Args:
        config: settings; those at None take `defaults`.
        settings: single settings over ``config``: n_factors=64, n_epochs=30, learning_rate=.025, l2=.1, l2_power=-.5,
            bias_l2=.2, init_std=.01, schedule="linear", seed=0, n_threads=all cores (the factors are the same for any
            number), patience.

    Attributes:
        user_factors: float32 array of shape (n_users, n_factors).
        item_factors: float32 array of shape (n_items, n_factors).
        user_bias: float32 array of shape (n_users,).
        item_bias: float32 array of shape (n_items,).
        global_mean: mean training rating.

    Raises:
        ConfigError: a setting that cannot be used, or that this model has not.

    References:
        Y. Koren, R. Bell, C. Volinsky, "Matrix factorization techniques for recommender systems", IEEE Computer, 2009,
        equations 4 and 5.
    """

    kind = "svd"
    _kernel = staticmethod(_kernels.train_svd)
    defaults: ClassVar[dict[str, Any]] = {
        "n_factors": 64,
        "n_epochs": 30,
        "learning_rate": 0.025,
        "l2": 0.1,
        "l2_power": -0.5,
        "bias_l2": 0.2,
        "init_std": 0.01,
        "schedule": "linear",
    }

    @property
    def user_bias(self) -> np.ndarray:
        """b_u of each user: float32 array of shape (n_users,)."""
        return self._bias("user_bias")

    @property
    def item_bias(self) -> np.ndarray:
        """b_i of each item: float32 array of shape (n_items,)."""
        return self._bias("item_bias")

    def _bias(self, name: str) -> np.ndarray:
        self.check_trained()
        bias: np.ndarray = self.parameters[name]
        return bias

    def _initialise(self, train: Ratings, rng: np.random.Generator) -> None:
        super()._initialise(train, rng)
        self.parameters["user_bias"] = np.zeros(train.n_users, np.float32)
        self.parameters["item_bias"] = np.zeros(train.n_items, np.float32)

    def _arguments(self, learning_rate: float) -> tuple[Any, ...]:
        tables = (self.parameters[name] for name in (*self.tables, "user_bias", "item_bias"))
        return *tables, self.global_mean, learning_rate, self.unit, *self._l2, self.config.bias_l2

    def _linear(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
        biases = self.parameters["user_bias"], self.parameters["item_bias"]
        return self._user_vectors(), self.parameters["item_factors"], *biases, self.global_mean

    def _means(self) -> tuple[np.ndarray, np.ndarray]:
        mean = np.float32(self.global_mean)
        return mean + self.parameters["user_bias"], mean + self.parameters["item_bias"]


class SVDpp(SVD):
    """SVD++: `SVD` whose user is also described by which items were rated (Koren's implicit factors).

    Prediction: ``r_ui = mu + b_u + b_i + x_u . q_i``, ``x_u = p_u + |N(u)|^-1/2 * sum of y_j over j in N(u)``, N(u) the items
    that u rated in training.

    Objective and updates: as `SVD` with x_u in place of p_u for q_i, p_u's update unchanged, and for every j in N(u)::

        y_j <- y_j + learning_rate * (e * |N(u)|^-1/2 * q_i / unit - l2_u * y_j)

    The updates of all y_j at every rating are carried out exactly, at the cost of one (see `_kernels.train_svdpp`); users are
    visited one after another in random order, on one thread.

    Cold start: as `SVD`.

    Args, Raises: as `SVD`; one thread trains, whatever ``n_threads``.

    Attributes:
        implicit_factors: y_j of each item: float32 array of shape (n_items, n_factors). The others as `SVD`.

    References:
        Y. Koren, "Factorization meets the neighborhood", KDD 2008, equations 15 and 16.
    """

    kind = "svdpp"
    _kernel = staticmethod(_kernels.train_svdpp)
    tables: ClassVar[tuple[str, ...]] = ("user_factors", "item_factors", "implicit_factors")

    @property
    def implicit_factors(self) -> np.ndarray:
        """y_j of each item: float32 array of shape (n_items, n_factors)."""
        return self._view("implicit_factors")

    def _initialise(self, train: Ratings, rng: np.random.Generator) -> None:
        super()._initialise(train, rng)
        self.parameters["implicit_factors"] = self._draw(train.n_items, 0.0, rng)

    def _lay_out(self, train: Ratings) -> Schedule:
        return UserSchedule(train.user, train.item, train.rating, train.n_users, train.n_items, self.config.seed)

    def _epoch(self, epoch: int, learning_rate: float, tick: Tick) -> float:
        train_rmse = super()._epoch(epoch, learning_rate, tick)
        starts, item = self._schedule.starts, self._schedule.columns[0]
        factors = self.parameters["user_factors"], self.parameters["implicit_factors"]
        self.parameters["user_vectors"] = _kernels.implicit_user_factors(starts, item, *factors)
        return train_rmse

    def _user_vectors(self) -> np.ndarray:
        table: np.ndarray = self.parameters["user_vectors"]
        return table
