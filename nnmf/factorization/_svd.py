"""Funk SVD, biased SVD and SVD++: factorization by stochastic gradient descent in compiled loops; needs no MXNet."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ._learner import FunkLearner, SVDLearner, SVDppLearner
from ._model import Factorization


class FunkSVD(Factorization):
    """Funk's factorization: the prediction is the dot product alone.

    Prediction: ``r_ui = p_u . q_i``.

    Objective: the sum over the ratings of ``(r - r_ui)^2 + l2_u |p_u|^2 + l2_i |q_i|^2``, with a row's penalty
    ``l2 * (n / mean n) ** l2_power`` by its number n of ratings, paid at each of them.

    Update, at each rating, both from the old values, with e = r - r_ui::

        p_u <- p_u + learning_rate * (e * q_i / unit - l2_u * p_u)
        q_i <- q_i + learning_rate * (e * p_u / unit - l2_i * q_i)

    with unit the spread of the ratings over that of 1 to 5 stars, 1.125, so that any scale is trained alike. Initial factors
    are normal about ``sqrt(mean rating / n_factors)``, with standard deviation ``init_std * sqrt(unit)``, so that the first
    predictions are the mean rating.

    Steps: ratings whose mean is over 20 times their unit away from zero (of 1 to 5 stars: 20) are learned at a rate that is
    shorter by as much; there `SVD`, which starts at the mean, is the better model.

    Cold start: the mean rating of the known side, else of all.

    Parameters
    ----------
    config : TrainConfig, default=None
        Settings; those at None take `defaults`.
    **settings
        Single settings over ``config``: n_factors=64, n_epochs=40, learning_rate=.02, l2=.07, l2_power=0,
        init_std=.01, schedule="linear", seed=0, n_threads=all cores (the factors are the same for any number), patience.

    Attributes
    ----------
    user_factors : float32 array of shape (n_users, n_factors)
    item_factors : float32 array of shape (n_items, n_factors)

    Raises
    ------
    ConfigError
        A setting that cannot be used, or that this model has not.

    References
    ----------
    S. Funk, "Netflix Update: Try This at Home", 2006, https://sifter.org/~simon/journal/20061211.html
    """

    kind = "funk_svd"
    learner_class: ClassVar[type[FunkLearner]] = FunkLearner
    defaults: ClassVar[dict[str, Any]] = {
        "n_factors": 64,
        "n_epochs": 40,
        "learning_rate": 0.02,
        "l2": 0.07,
        "l2_power": 0.0,
        "init_std": 0.01,
        "schedule": "linear",
    }


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

    with unit as in `FunkSVD`. Initial biases are zero, initial factors normal with standard deviation
    ``init_std * sqrt(unit)``.

    Cold start: an unknown item is answered with ``mu + b_u``, an unknown user with ``mu + b_i``, both with mu.

    Parameters
    ----------
    config : TrainConfig, default=None
        Settings; those at None take `defaults`.
    **settings
        Single settings over ``config``: n_factors=64, n_epochs=30, learning_rate=.025, l2=.1, l2_power=-.5,
        bias_l2=.2, init_std=.01, schedule="linear", seed=0, n_threads=all cores (the factors are the same for any
        number), patience.

    Attributes
    ----------
    user_factors : float32 array of shape (n_users, n_factors)
    item_factors : float32 array of shape (n_items, n_factors)
    user_bias : float32 array of shape (n_users,)
    item_bias : float32 array of shape (n_items,)
    global_mean : float
        Mean training rating.

    Raises
    ------
    ConfigError
        A setting that cannot be used, or that this model has not.

    References
    ----------
    Y. Koren, R. Bell, C. Volinsky, "Matrix factorization techniques for recommender systems", IEEE Computer, 2009,
    equations 4 and 5.
    """

    kind = "svd"
    learner_class: ClassVar[type[FunkLearner]] = SVDLearner
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
        return self._table("user_bias")

    @property
    def item_bias(self) -> np.ndarray:
        """b_i of each item: float32 array of shape (n_items,)."""
        return self._table("item_bias")


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

    Attributes
    ----------
    implicit_factors : float32 array of shape (n_items, n_factors)
        y_j of each item. The others as `SVD`.

    References
    ----------
    Y. Koren, "Factorization meets the neighborhood", KDD 2008, equations 15 and 16.
    """

    kind = "svdpp"
    learner_class = SVDppLearner
    derived = ("user_vectors",)

    @property
    def implicit_factors(self) -> np.ndarray:
        """y_j of each item: float32 array of shape (n_items, n_factors)."""
        return self._table("implicit_factors")
