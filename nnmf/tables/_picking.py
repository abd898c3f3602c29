"""The compiled loop that draws a share of each group of ratings; no index is checked here."""

from __future__ import annotations

import numpy as np

from nnmf._compiled import compiled


@compiled
def pick(group: np.ndarray, draw: np.ndarray, wanted: np.ndarray, left: np.ndarray, mask: np.ndarray) -> None:
    """Whether each rating is taken, as likely as ``wanted / left`` of its group, from both of which it then counts off.

    Parameters
    ----------
    group : int32 array of shape (n,).
    draw : float64 array of shape (n,), in [0, 1).
    wanted, left : int64 arrays of shape (n_groups,): ratings still to take, and still to come.
    mask : bool array of shape (n,), which is written.
    """
    for n in range(len(group)):
        of = group[n]
        mask[n] = draw[n] * left[of] < wanted[of]
        wanted[of] -= mask[n]
        left[of] -= 1
