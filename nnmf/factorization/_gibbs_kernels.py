"""Loops of a sweep of the Gibbs sampler: statistics of a side's rows over the ratings, and draws of its columns' weights.

A rating belongs to a row of each side (its user, its item, its day). For one factor f, with q_s the row's sum of ``x v`` on side s, the
prediction is ``const + q_s z + ...`` with ``z`` the sum of the other sides' q, so all that the draws of a side's columns need of the ratings
of a row is their number, the sums of z, of z^2, of the residuals e and of z e. Those are found in one pass over the ratings, and the columns
are then drawn from the rows alone, however many ratings there are: Rendle's relation blocks (PVLDB 2013), kept for rows of every side.

Ratings stand in the order of their users. A draw that moves q by b and the rest of a row's prediction by a changes its residuals by
``a + b z``; the next pass takes that off before it adds up its own sums. Nothing here checks an index: `Sampler` does, once.
"""

# Numba types what follows when it compiles it; to mypy our intrinsics have a signature they are not called with.
# mypy: disable-error-code="no-untyped-def, call-arg, unreachable, var-annotated"

from __future__ import annotations

import math

import numpy as np

from nnmf._compiled import compiled

from ._vectors import take

# What `rows` hold of each row of a side, float64 (n_rows, 8): a line of the cache.
COUNT, Z, ZZ, E, ZE, Q, A, B = range(8)


@compiled
def mix(number) -> np.uint64:
    """A number's bits, mixed (splitmix64's finaliser)."""
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return number ^ (number >> np.uint64(31))


@compiled
def uniform(key, counter) -> float:
    """A number above 0 and up to 1 that follows from a key and a counter alone (splitmix64)."""
    number = mix(np.uint64(key) + np.uint64(counter + 1) * np.uint64(0x9E3779B97F4A7C15))
    return (float(number >> np.uint64(11)) + 1.0) / 9007199254740992.0


@compiled
def normal(key, counter) -> float:
    """A standard normal number that follows from a key and a counter alone (Box and Muller)."""
    first, second = uniform(key, 2 * counter), uniform(key, 2 * counter + 1)
    return math.sqrt(-2.0 * math.log(first)) * math.cos(6.283185307179586 * second)


@compiled(fastmath={"contract"})
def user_pass(chunks, taken, edges, starts, item, day, residual, rows, item_terms, day_terms, before, now) -> None:
    """Sums over the ratings of each user; takes what the last draws, of the items or days, changed off the residuals before.

    Parameters
    ----------
    chunks, taken : as in `train_funk`: chunks of users.
    edges : int64 (n_chunks + 1,): first user of each chunk.
    starts : int64 (n_users + 1,): first rating of each user.
    item, day : int32 (n_ratings,); no days: None.
    residual : float32 (n_ratings,), changed.
    rows : float64 (n_users, 8), written.
    item_terms, day_terms : float32 (n, 4): of each item and day a and b of the last draws (0 where they were not the last), its q
        of the factor that those were of, and its q of the factor at hand.
    before, now : float32 (n_users,): the users' q of the factor that the last draws were of, and of the one at hand.
    """
    at = take(taken)
    while at < len(chunks):
        chunk = chunks[at]
        for u in range(edges[chunk], edges[chunk + 1]):
            old = before[u]
            z, zz, e, ze = 0.0, 0.0, 0.0, 0.0
            for n in range(starts[u], starts[u + 1]):
                i = np.uint64(item[n])
                left = residual[n] - item_terms[i, 0] - item_terms[i, 1] * old
                q = item_terms[i, 3]
                if day is not None:
                    d = np.uint64(day[n])
                    left -= day_terms[d, 0] + day_terms[d, 1] * (old + item_terms[i, 2])
                    q += day_terms[d, 3]
                residual[n] = left
                z += np.float64(q)
                zz += np.float64(q * q)
                e += np.float64(left)
                ze += np.float64(q * left)
            row = rows[u]
            row[COUNT], row[Z], row[ZZ], row[E], row[ZE] = starts[u + 1] - starts[u], z, zz, e, ze
            row[Q], row[A], row[B] = now[u], 0.0, 0.0
        at = take(taken)


@compiled(fastmath={"contract"})
def item_pass(chunks, taken, edges, starts, item, day, residual, user_rows, item_q, day_q, sums) -> None:
    """Sums over the ratings of each item, a part for each chunk of users; takes the users' last draws off the residuals before.

    Parameters
    ----------
    user_rows : float64 (n_users, 8): drawn.
    item_q, day_q : float32 (n,).
    sums : float64 (n_chunks, n_items, 4): becomes the sums of z, z^2, e and z e.
    others : as in `user_pass`.
    """
    at = take(taken)
    while at < len(chunks):
        chunk = chunks[at]
        mine = sums[chunk]
        mine[:] = 0.0
        for u in range(edges[chunk], edges[chunk + 1]):
            a, b, q = np.float32(user_rows[u, A]), np.float32(user_rows[u, B]), np.float32(user_rows[u, Q])
            for n in range(starts[u], starts[u + 1]):
                i = np.uint64(item[n])
                other, z = item_q[i], q
                if day is not None:
                    d = np.uint64(day[n])
                    other += day_q[d]
                    z += day_q[d]
                left = residual[n] - a - b * other
                residual[n] = left
                mine[i, 0] += np.float64(z)
                mine[i, 1] += np.float64(z * z)
                mine[i, 2] += np.float64(left)
                mine[i, 3] += np.float64(z * left)
        at = take(taken)


@compiled(fastmath={"contract"})
def day_pass(chunks, taken, edges, starts, item, day, residual, user_rows, item_terms, day_q, sums) -> None:
    """Sums over the ratings of each day; takes the items' last draws off the residuals before.

    Parameters
    ----------
    item_terms : float32 (n_items, 4): a, b and q of the items' last draws.
    sums : float64 (n_chunks, n_days, 4).
    others : as in `item_pass`.
    """
    at = take(taken)
    while at < len(chunks):
        chunk = chunks[at]
        mine = sums[chunk]
        mine[:] = 0.0
        for u in range(edges[chunk], edges[chunk + 1]):
            q = np.float32(user_rows[u, Q])
            for n in range(starts[u], starts[u + 1]):
                i, d = np.uint64(item[n]), np.uint64(day[n])
                left = residual[n] - item_terms[i, 0] - item_terms[i, 1] * (q + day_q[d])
                residual[n] = left
                z = q + item_terms[i, 2]
                mine[d, 0] += np.float64(z)
                mine[d, 1] += np.float64(z * z)
                mine[d, 2] += np.float64(left)
                mine[d, 3] += np.float64(z * left)
        at = take(taken)


@compiled
def gather(sums, counts, q, rows) -> None:
    """Add the parts of `item_pass` or `day_pass` up, in the order of the chunks, into rows as `user_pass` writes them.

    Parameters
    ----------
    counts : int64 (n_rows,): ratings of each row.
    q : float32 (n_rows,).
    """
    for i in range(len(counts)):
        row = rows[i]
        row[:] = 0.0
        for chunk in range(len(sums)):
            for k in range(4):
                row[Z + k] += sums[chunk, i, k]
        row[COUNT], row[Q] = counts[i], q[i]


@compiled
def draw_ids(chunks, taken, edges, rows, value, linear, alpha, precision, mean, key) -> None:
    """Draw a factor's weights of a block with one column a row, which no other row has: in any order, on any number of threads.

    Parameters
    ----------
    chunks, taken, edges : chunks of rows, as in `user_pass`.
    rows : float64 (n_rows, 8), changed.
    value : float32 (n_rows,): the weights, drawn anew.
    linear : whether they are weights of the columns alone, which no other column has a part in; z is then 0 throughout.
    alpha : precision of the noise.
    precision, mean : of the weights' prior.
    key : what the random numbers follow from, with the column's number.
    """
    at = take(taken)
    while at < len(chunks):
        chunk = chunks[at]
        for j in range(edges[chunk], edges[chunk + 1]):
            row = rows[j]
            old = np.float64(value[j])
            g = 1.0 if linear else row[Q] - old
            hh = row[COUNT] * g * g + 2.0 * g * row[Z] + row[ZZ]
            he = g * row[E] + row[ZE]
            total = precision + alpha * hh
            new = np.float32((precision * mean + alpha * (he + old * hh)) / total + normal(key, j) / math.sqrt(total))
            value[j] = new
            by = np.float64(new) - old
            row[E] -= by * (row[COUNT] * g + row[Z])
            row[ZE] -= by * (g * row[Z] + row[ZZ])
            row[Q] += by
            row[A] += by * g
            row[B] += by
        at = take(taken)


@compiled
def draw_columns(starts, entry_row, weight, rows, value, linear, alpha, precision, mean, key) -> None:
    """Draw a factor's weights of a block, column after column; see `draw_ids`.

    Parameters
    ----------
    starts, entry_row, weight : int64 (n_columns + 1,), int32 and float32 (n_entries,): the block's entries, column by column.
    """
    for j in range(len(value)):
        old = np.float64(value[j])
        hh, he = 0.0, 0.0
        for n in range(starts[j], starts[j + 1]):
            row, x = rows[np.uint64(entry_row[n])], np.float64(weight[n])
            g = 1.0 if linear else row[Q] - x * old
            hh += x * x * (row[COUNT] * g * g + 2.0 * g * row[Z] + row[ZZ])
            he += x * (g * row[E] + row[ZE])
        total = precision + alpha * hh
        new = np.float32((precision * mean + alpha * (he + old * hh)) / total + normal(key, j) / math.sqrt(total))
        value[j] = new
        by = np.float64(new) - old
        for n in range(starts[j], starts[j + 1]):
            row, x = rows[np.uint64(entry_row[n])], np.float64(weight[n])
            g, moved = 1.0 if linear else row[Q] - x * old, x * by
            row[E] -= moved * (row[COUNT] * g + row[Z])
            row[ZE] -= moved * (g * row[Z] + row[ZZ])
            row[Q] += moved
            row[A] += moved * g
            row[B] += moved


@compiled
def sum_rows(starts, column, weight, value, q, own) -> None:
    """Add a block to the rows' sums of ``x v`` and of ``(x v)^2``.

    Parameters
    ----------
    starts, column, weight : int64 (n_rows + 1,), int32 and float32 (n_entries,): the block's entries, row by row.
    value : float32 (n_columns, n_factors).
    q, own : float64 (n_rows, n_factors), (n_rows,): added to.
    """
    for row in range(len(own)):
        for n in range(starts[row], starts[row + 1]):
            j, x = np.uint64(column[n]), np.float64(weight[n])
            for f in range(value.shape[1]):
                part = x * np.float64(value[j, f])
                q[row, f] += part
                own[row] += part * part


@compiled(fastmath={"contract"})
def residuals(chunks, taken, edges, starts, item, day, rating, mean, consts, q, residual, errors) -> None:
    """Residuals of the ratings, and their sum of squares by chunk.

    Parameters
    ----------
    rating : float32 (n_ratings,).
    mean : the prediction's constant.
    consts : three float32 (n,): the rest of a prediction that each user, item and day has alone.
    q : three float32 (n, n_factors): of the users, items and days.
    residual : float32 (n_ratings,), written.
    errors : float64 (n_chunks,), written.
    """
    user_const, item_const, day_const = consts
    user_q, item_q, day_q = q
    width = user_q.shape[1]
    at = take(taken)
    while at < len(chunks):
        chunk = chunks[at]
        total = 0.0
        for u in range(edges[chunk], edges[chunk + 1]):
            for n in range(starts[u], starts[u + 1]):
                i = np.uint64(item[n])
                found = np.float32(mean) + user_const[u] + item_const[i]
                if day is None:
                    for f in range(width):
                        found += user_q[u, f] * item_q[i, f]
                else:
                    d = np.uint64(day[n])
                    found += day_const[d]
                    for f in range(width):
                        found += user_q[u, f] * item_q[i, f] + (user_q[u, f] + item_q[i, f]) * day_q[d, f]
                left = rating[n] - found
                residual[n] = left
                total += np.float64(left) * np.float64(left)
        errors[chunk] = total
        at = take(taken)


@compiled(fastmath={"contract", "reassoc", "nsz"})
def add_products(left, right, first, second, width, total) -> None:
    """Add to ``total``, float64 (n,), the dot products of rows of two tables.

    Parameters
    ----------
    left, right : int32 (n,): rows of ``first`` and ``second``, float32 (n_rows, at least width).
    """
    for n in range(len(total)):
        row, other = first[np.uint64(left[n])], second[np.uint64(right[n])]
        product = np.float32(0)
        for f in range(width):
            product += row[f] * other[f]
        total[n] += np.float64(product)
