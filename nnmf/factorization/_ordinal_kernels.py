"""Loops over ratings on a grid: how likely they make the cut points between its values, and draws of what lies behind them.

A rating is the k-th value of the grid where a latent number, normal about the prediction with variance 1, falls between the cut points
k and k + 1, the first and last of which are infinite (ordered probit).
"""

# Numba types what follows when it compiles it; to mypy our intrinsics have a signature they are not called with.
# mypy: disable-error-code="no-untyped-def, call-arg, unreachable, var-annotated"

from __future__ import annotations

import math

import numpy as np

from nnmf._compiled import compiled

from ._gibbs_kernels import uniform
from ._vectors import take

_ROOT = 0.7071067811865476
_DENSITY = 0.3989422804014327
# No probability is taken to be less, so that logarithms stay finite.
_LEAST = 1e-300


@compiled
def above(x) -> float:
    """Probability that a standard normal number is above x, precise far above as well."""
    return 0.5 * math.erfc(x * _ROOT)


@compiled
def between(low, high) -> float:
    """Probability that a standard normal number lies between two bounds, precise in both tails."""
    if low > 0:
        return max(above(low) - above(high), _LEAST)
    if high < 0:
        return max(above(-high) - above(-low), _LEAST)
    return max(1.0 - above(high) - above(-low), _LEAST)


@compiled
def quantile(p) -> float:
    """The number that a standard normal one is below with probability p in (0, 1): Wichura's algorithm AS 241, PPND16 (1988)."""
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        top = ((((((2509.0809287301226727 * r + 33430.575583588128105) * r + 67265.770927008700853) * r + 45921.953931549871457) * r + 13731.693765509461125) * r + 1971.5909503065514427) * r + 133.14166789178437745) * r + 3.387132872796366608  # fmt: skip
        low = ((((((5226.495278852545925 * r + 28729.085735721942674) * r + 39307.89580009271061) * r + 21213.794301586595867) * r + 5394.1960214247511077) * r + 687.1870074920579083) * r + 42.313330701600911252) * r + 1.0  # fmt: skip
        return q * top / low
    r = math.sqrt(-math.log(p if q < 0 else 1.0 - p))
    if r <= 5.0:
        r -= 1.6
        top = ((((((7.7454501427834140764e-4 * r + 0.0227238449892691845833) * r + 0.24178072517745061177) * r + 1.27045825245236838258) * r + 3.64784832476320460504) * r + 5.7694972214606914055) * r + 4.6303378461565452959) * r + 1.42343711074968357734  # fmt: skip
        low = ((((((1.05075007164441684324e-9 * r + 5.475938084995344946e-4) * r + 0.0151986665636164571966) * r + 0.14810397642748007459) * r + 0.68976733498510000455) * r + 1.6763848301838038494) * r + 2.05319162663775882187) * r + 1.0  # fmt: skip
    else:
        r -= 5.0
        top = ((((((2.01033439929228813265e-7 * r + 2.71155556874348757815e-5) * r + 0.0012426609473880784386) * r + 0.026532189526576123093) * r + 0.29656057182850489123) * r + 1.7848265399172913358) * r + 5.4637849111641143699) * r + 6.6579046435011037772  # fmt: skip
        low = ((((((2.04426310338993978564e-15 * r + 1.4215117583164458887e-7) * r + 1.8463183175100546818e-5) * r + 7.868691311456132591e-4) * r + 0.0148753612908506148525) * r + 0.13692988092273580531) * r + 0.59983220655588793769) * r + 1.0  # fmt: skip
    return -top / low if q < 0 else top / low


@compiled
def cut_terms(chunks, taken, edges, level, residual, cuts, terms) -> None:
    """Log likelihood of the ratings given the cut points, its first derivatives by them and its second ones.

    Parameters
    ----------
    chunks, taken, edges : chunks of ratings, as in `user_pass`.
    level : uint8 (n_ratings,): which value of the grid each rating is.
    residual : float32 (n_ratings,): minus the prediction.
    cuts : float64 (n_levels + 1,), rising, the first and last infinite.
    terms : float64 (n_chunks, 3, n_levels + 1), zeros: becomes gradient, diagonal and upper diagonal of the Hessian; the log
        likelihood stands at the first place of the gradient, whose cut point is no parameter.
    """
    at = take(taken)
    while at < len(chunks):
        chunk = chunks[at]
        mine = terms[chunk]
        total = 0.0
        for n in range(edges[chunk], edges[chunk + 1]):
            k = np.uint64(level[n])
            low, high = cuts[k] + np.float64(residual[n]), cuts[k + np.uint64(1)] + np.float64(residual[n])
            p = between(low, high)
            total += math.log(p)
            if p <= _LEAST:  # beyond what is told apart the likelihood is flat
                continue
            at_low, at_high = 0.0, 0.0
            if k > 0:
                at_low = _DENSITY * math.exp(-0.5 * low * low) / p
                mine[0, k] -= at_low
                mine[1, k] += low * at_low - at_low * at_low
            if k + 2 < len(cuts):
                at_high = _DENSITY * math.exp(-0.5 * high * high) / p
                mine[0, k + np.uint64(1)] += at_high
                mine[1, k + np.uint64(1)] -= high * at_high + at_high * at_high
            mine[2, k] += at_low * at_high
        mine[0, 0] = total
        at = take(taken)


@compiled
def draw_latents(chunks, taken, edges, level, residual, cuts, key) -> None:
    """Draw each rating's latent number given the prediction and the cut points; what is kept of it is how far it lies from it.

    Parameters
    ----------
    residual : float32 (n_ratings,): minus the prediction; becomes the latent number minus the prediction.
    others : as in `cut_terms` and `draw_ids`.
    """
    at = take(taken)
    while at < len(chunks):
        chunk = chunks[at]
        for n in range(edges[chunk], edges[chunk + 1]):
            k = np.uint64(level[n])
            low, high = cuts[k] + np.float64(residual[n]), cuts[k + np.uint64(1)] + np.float64(residual[n])
            flipped = low > 0  # the upper tail is drawn as the lower one, whose probabilities are precise
            if flipped:
                low, high = -high, -low
            first = above(-low)
            p = first + uniform(key, n) * between(low, high)
            drawn = min(max(quantile(min(max(p, _LEAST), 1.0 - 1e-16)), low), high)
            residual[n] = -drawn if flipped else drawn
        at = take(taken)


@compiled
def expected(prediction, variance, cuts, values, answer) -> None:
    """Expectation of a rating on the grid whose latent number is normal about a prediction.

    Parameters
    ----------
    prediction, variance : float64 (n,): the latent number's mean and variance.
    cuts, values : float64 (n_levels + 1,) and (n_levels,).
    answer : float64 (n,), written.
    """
    for n in range(len(answer)):
        scale = 1.0 / math.sqrt(variance[n])
        total = values[0]
        for k in range(1, len(values)):
            total += (values[k] - values[k - 1]) * above((cuts[k] - prediction[n]) * scale)
        answer[n] = total
