"""Loops over the rows that a batch looks up: which they are, bringing them up to date, moving them.

Between two batches that look it up a row has no gradient, so that each step of SGD with momentum takes its weight and momentum by
one and the same linear map; n of them are its n-th power. A row is brought up to date when it is looked up again, all of them at
an epoch's end, and is then what it would be had every step gone over the whole table.
"""

# Numba types what follows when it compiles it. No index is checked here: `_sparse` does it for each piece of an epoch.
# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import numpy as np

from nnmf._compiled import compiled, fetch

# Powers that are kept one by one; higher ones are a product of one of these and of one of its own multiples.
_NEAR = 4096
# Rows between asking for one and using it: those of large tables come from main memory, which takes longer than all else here.
_AHEAD = 8
# Numbers that come from there at once.
_LINE = 16


@compiled
def find_rows(index, place, rows, local) -> int:
    """Number the rows of a batch in the order in which they first come.

    Parameters
    ----------
    index : int32 array of shape (batch_size,): the rows, with repetitions.
    place : int32 array of the table's length: where each row stood in `rows` when it was last there; anything else before.
    rows : int32 array of shape (batch_size,) or more: gets the rows, each once.
    local : int32 array of shape (batch_size,): gets where each of `index` stands in `rows`.

    Returns
    -------
    The number of rows.
    """
    n_rows = 0
    for n in range(index.shape[0]):
        row = index[n]
        at = place[row]
        if at < 0 or at >= n_rows or rows[at] != row:
            at = n_rows
            place[row], rows[at] = at, row
            n_rows += 1
        local[n] = at
    return n_rows


@compiled
def gather(rows, n_rows, local, steps, step, near, far, weight, momentum, rank, n_workers, found) -> None:
    """Bring the rows that a batch looks up up to date, and copy them for each of its ratings.

    Parameters
    ----------
    rows, n_rows, local : what `find_rows` found.
    steps : int32 array of the table's length: how many steps each row has gone through.
    step : how many there were.
    near, far : float64 arrays of shape (n, 2, 2): as of `powers`.
    weight, momentum : float32 arrays of shape (length, width).
    rank, n_workers : of the batch's ratings every n_workers-th is copied for, from this on.
    found : float32 array of shape (n, width): gets the weights of the row that each of these looks up.
    """
    n_new = 0
    for n in range(local.shape[0]):
        at = local[n]
        row = rows[at]
        if at == n_new:  # rows are numbered as they first come
            ahead = np.uint64(rows[min(at + _AHEAD, n_rows - 1)])
            for j in range(0, weight.shape[1], _LINE):
                fetch(weight, ahead, np.uint64(j))
                fetch(momentum, ahead, np.uint64(j))
            _catch_up(row, step - steps[row], near, far, weight, momentum)
            n_new += 1
        if n % n_workers == rank:
            for j in range(weight.shape[1]):
                found[n // n_workers, j] = weight[row, j]


@compiled
def add_up(gradient, local, n_rows, rank, n_workers, total) -> None:
    """Add the gradients of each row up.

    Parameters
    ----------
    gradient : float32 array of shape (n, width): of what `gather` found.
    local, n_rows : what `find_rows` found.
    rank, n_workers : as of `gather`.
    total : float32 array of shape (n_rows or more, width): gets the sums; with several workers, zeros where there is none.
    """
    n_new = 0
    if n_workers > 1:
        total[:] = 0
        n_new = n_rows
    for n in range(gradient.shape[0]):
        at = local[n * n_workers + rank]
        if at == n_new:
            for j in range(gradient.shape[1]):
                total[at, j] = gradient[n, j]
            n_new += 1
        else:
            for j in range(gradient.shape[1]):
                total[at, j] += gradient[n, j]


@compiled
def catch_up(steps, step, near, far, weight, momentum) -> None:
    """Bring all rows of a table up to date; parameters as of `gather`."""
    for row in range(weight.shape[0]):
        _catch_up(row, step - steps[row], near, far, weight, momentum)


@compiled
def _catch_up(row, n_steps, near, far, weight, momentum) -> None:
    if n_steps == 0:
        return
    low, high = near[n_steps % near.shape[0]], far[n_steps // near.shape[0]]
    ww = np.float32(low[0, 0] * high[0, 0] + low[0, 1] * high[1, 0])
    wm = np.float32(low[0, 0] * high[0, 1] + low[0, 1] * high[1, 1])
    mw = np.float32(low[1, 0] * high[0, 0] + low[1, 1] * high[1, 0])
    mm = np.float32(low[1, 0] * high[0, 1] + low[1, 1] * high[1, 1])
    for j in range(weight.shape[1]):
        w, m = weight[row, j], momentum[row, j]
        weight[row, j] = ww * w + wm * m
        momentum[row, j] = mw * w + mm * m


@compiled
def descend_rows(rows, n_rows, total, rate, decay, keep, scale, bound, weight, momentum) -> None:
    """One step of SGD with momentum for the first `n_rows` of `rows`, whose gradients `add_up` found. As `descend`."""
    for at in range(n_rows):
        row = rows[at]
        for j in range(weight.shape[1]):
            g = scale * total[at, j]
            g = bound if g > bound else (-bound if g < -bound else g)  # in this form what is no number stays none
            m = keep * momentum[row, j] - rate * (g + decay * weight[row, j])
            momentum[row, j] = m
            weight[row, j] += m


@compiled
def add_up_and_descend(gradient, local, total, rows, n_rows, rate, decay, keep, scale, bound, weight, momentum) -> None:
    """Both at once, of all ratings of a batch."""
    add_up(gradient, local, n_rows, 0, 1, total)
    descend_rows(rows, n_rows, total, rate, decay, keep, scale, bound, weight, momentum)


@compiled
def descend(gradient, rate, decay, keep, scale, bound, weight, momentum) -> None:
    """One step of SGD with momentum, as MXNet's ``sgd_mom_update`` takes it:

        m <- keep m - rate (clip(scale g) + decay w),  w <- w + m

    Parameters
    ----------
    gradient, weight, momentum : float32 arrays of shape (n,).
    rate, decay, keep, scale, bound : float32; gradients are cut off beyond `bound` either way.
    """
    for j in range(weight.shape[0]):
        g = scale * gradient[j]
        g = bound if g > bound else (-bound if g < -bound else g)
        m = keep * momentum[j] - rate * (g + decay * weight[j])
        momentum[j] = m
        weight[j] += m


@compiled
def mark(rows, n_rows, steps, step) -> None:
    """Note how many steps rows have gone through."""
    for at in range(n_rows):
        steps[rows[at]] = step


@compiled
def squared_error(rating, prediction, n) -> float:
    """Sum of the first n squared differences."""
    total = 0.0
    for at in range(n):
        error = float(rating[at] - prediction[at])
        total += error * error
    return total


def powers(rate: float, decay: float, keep: float, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Powers of what a step without a gradient makes of (weight, momentum), up to the `n_steps`-th.

    Returns
    -------
    near, far : float64 arrays of shape (n, 2, 2)
        The k-th power is ``near[k % n_near] @ far[k // n_near]``.
    """
    step = np.array([[1 - rate * decay, keep], [-rate * decay, keep]])
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # of a rate with which training diverges, which the epoch's RMSE tells
        near = _first_powers(step, min(n_steps + 1, _NEAR))
        return near, _first_powers(near[-1] @ step, n_steps // len(near) + 1)


def _first_powers(step: np.ndarray, n: int) -> np.ndarray:
    found, known = np.empty((n, 2, 2)), 1
    found[0] = np.eye(2)
    while known < n:  # `step` is the power of that number
        more = min(known, n - known)
        found[known : known + more] = found[:more] @ step
        known, step = known + more, step @ step
    return found
