"""Turns: the order in which an epoch visits the blocks of a grid, whoever trains them.

Users and items are cut into as many stripes, a power of two, and stripes stand in a random order. In turn t the stripe of users at place
p meets the stripe of items at place ``p ^ t``, so that in all turns each meets each once. The stripes' pairs of a turn share no user and
no item. And as the places whose numbers begin with the same bits meet such places of the other side alone while the first bits of t stay,
halves, quarters, eighths of the stripes go together for half, a quarter, an eighth of an epoch: however many machines share the work,
each keeps its users, and changes its items as many times as there are machines.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Turns(NamedTuple):
    """The turns of an epoch over a grid.

    Attributes
    ----------
    users, items : int array of shape (n_stripes,)
        Which stripe stands at each place.
    blocks : int32 array of shape (n_stripes, n_stripes, n_inner)
        By turn and place of the users: the numbers of the blocks that they visit, one after another.
    """

    users: np.ndarray
    items: np.ndarray
    blocks: np.ndarray

    @classmethod
    def of(cls, shape: tuple[int, int], seed: int, epoch: int) -> Turns:
        """Those that follow from (seed, epoch).

        Parameters
        ----------
        shape : (user blocks, item blocks): the fewer a power of two, the more a multiple of it.
        """
        n_stripes, n_inner = min(shape), max(shape) // min(shape)
        rng = np.random.default_rng((seed, epoch))
        users, items = rng.permutation(n_stripes), rng.permutation(n_stripes)
        inner = rng.permuted(np.broadcast_to(np.arange(n_inner), (n_stripes, n_stripes, n_inner)), axis=2)
        place = np.arange(n_stripes)
        user, item = users[place][None, :, None], items[place ^ place[:, None]][:, :, None]
        if shape[0] > shape[1]:
            user = user * n_inner + inner
        else:
            item = item * n_inner + inner
        return cls(users, items, (user * shape[1] + item).astype(np.int32))

    def rounds(self) -> np.ndarray:
        """What may be trained at the same time, one round after another: int32 array of shape (n_rounds, n_stripes)."""
        return self.blocks.transpose(0, 2, 1).reshape(-1, len(self.users))
