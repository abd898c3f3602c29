"""`ClusterChains`: chains of the Gibbs sampler on the workers of a cluster, which draw what they draw in one process.

Whole chains are the tasks, some sweeps at a time. They need nothing of one another, where a chain that is cut by users waits for all its
parts twice a factor and sweep; and several chains predict better than a long one. Each holds a residual for every rating.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnmf.cluster import Graph, persistently, shared_folder, threads_of, unreadable
from nnmf.files import cannot_write

from ._chains import seeds_of, states_of
from ._gibbs import Sampler
from ._observed import Observed
from ._posterior import Draw
from ._schedule import Workers

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger("nnmf")


@dataclass(frozen=True, eq=False)
class Sweeps:
    """What a task draws.

    Attributes
    ----------
    folder : str
        Of the files: arrays of `Observed.to_arrays`, and the state that the chain is in.
    arrays : list of str
        Names of the former.
    state : str or None
        Name of the latter; None: the chain has not begun.
    same : bool
        Whether that state was reached with these ratings.
    seed, n_factors, init_std : as of `Sampler`.
    first, n : int
        Number of the first sweep, and how many.
    """

    folder: str
    arrays: list[str]
    state: str | None
    same: bool
    seed: int
    n_factors: int
    init_std: float
    first: int = 1
    n: int = 0


def draw_sweeps(work: Sweeps) -> dict[str, Any]:
    """The draws of some sweeps of a chain, the state that they leave, and the RMSE of the last."""
    folder = Path(work.folder)
    try:
        observed = Observed.from_arrays({name: _mapped(folder / f"{name}.npy") for name in work.arrays})
        state = None
        if work.state is not None:
            with np.load(folder / work.state, allow_pickle=False) as file:
                state = dict(file)
    except (OSError, ValueError) as error:
        raise unreadable(folder, error) from None
    settings = {"n_factors": work.n_factors, "seed": work.seed, "init_std": work.init_std}
    with Workers(1) as workers:
        sampler = Sampler(observed, workers=workers, **settings)  # type: ignore[arg-type]
        if state is not None:
            sampler.take_state(state, work.same)
        sampler.begin()
        draws = []
        for number in range(work.first, work.first + work.n):
            sampler.sweep(number, lambda _: None)
            draws.append(sampler.draw())
    return {"draws": draws, "state": sampler.state(), "rmse": sampler.rmse}


def _mapped(path: Path) -> np.ndarray:
    """An array of a file. Were it changed, it would be in memory alone: to Numba a read-only array is of another type."""
    array = np.load(path, allow_pickle=False, mmap_mode="c" if path.stat().st_size > 1 << 16 else None)
    return np.asarray(array)


class ClusterChains:
    """The chains of `Chains` on a cluster; the number of workers changes no draw.

    Parameters
    ----------
    observed : Observed
        The ratings.
    n_factors, init_std : as of `Sampler`.
    n_chains, seed : int
        As of `Chains`.
    client : distributed.Client
    home : Path, default=None
        Where the ratings are put for the workers to read; see `shared_folder`.
    """

    def __init__(
        self,
        observed: Observed,
        *,
        n_factors: int,
        init_std: float,
        n_chains: int,
        seed: int,
        client: Client,
        home: Path | None = None,
    ) -> None:
        self._client, self._open = client, contextlib.ExitStack()
        self._states: list[dict[str, np.ndarray]] = []
        self._rmse: list[float] = []
        try:
            self._folder = self._open.enter_context(shared_folder(client, home))
            arrays = observed.to_arrays()
            for name, array in arrays.items():
                np.save(self._folder / f"{name}.npy", array)
        except OSError as error:
            self._open.close()
            raise cannot_write(self._folder, error) from None
        except BaseException:
            self._open.close()
            raise
        self._chains = [
            Sweeps(str(self._folder), list(arrays), None, False, own, n_factors, init_std)
            for own in seeds_of(seed, n_chains)
        ]
        if (n_threads := len(threads_of(client))) > n_chains:
            logger.info(
                "Cluster: %d threads for %s, which is what one trains; n_chains says how many there are.",
                n_threads,
                "1 chain" if n_chains == 1 else f"{n_chains} chains",
            )

    def close(self) -> None:
        """Remove what the workers read."""
        self._open.close()

    def take_state(self, state: dict[str, np.ndarray], same: bool) -> None:
        """Go on from what `state` gave; see `Sampler.take_state`."""
        self._states = states_of(state, len(self._chains))
        self._chains = [replace(chain, same=same) for chain in self._chains]

    def begin(self) -> None:
        """Prepare the first sweep."""
        list(self.sweeps(1, 0, lambda _: None))

    def sweeps(self, first: int, n: int, tick: Callable[[float], None]) -> Iterator[Draw]:
        """The draws of ``n`` sweeps of each chain, numbered from ``first``, always in the same order; see `Chains.sweeps`."""
        found: dict[int, dict[str, Any]] = {}
        with self._written(f"{first}.{n}") as files:
            work = [
                replace(chain, first=first, n=n, state=file) for chain, file in zip(self._chains, files, strict=True)
            ]
            persistently(lambda: self._draw(work, found, tick), f"the drawing from sweep {first} on")
        results = [found[chain] for chain in range(len(work))]
        self._states = [result["state"] for result in results]
        self._rmse = [result["rmse"] for result in results]
        # Their states are of these ratings from now on.
        self._chains = [replace(chain, same=True) for chain in self._chains]
        for number in range(n):
            yield from (result["draws"][number] for result in results)

    def _draw(self, work: list[Sweeps], found: dict[int, dict[str, Any]], tick: Callable[[float], None]) -> None:
        """Fill in what is not found yet, chain by chain."""
        graph, threads = Graph(self._client), threads_of(self._client)
        missing = [chain for chain in range(len(work)) if chain not in found]
        for at, chain in enumerate(missing):
            graph.want(graph.add(threads[at % len(threads)], draw_sweeps, work[chain]), chain)
        with contextlib.closing(graph.results()) as results:
            for name, result in results:
                assert isinstance(name, int)
                found[name] = result
                tick(len(found) / len(work))

    @contextlib.contextmanager
    def _written(self, name: str) -> Iterator[list[str | None]]:
        """Files of the chains' states, until their sweeps are done."""
        files = [f"state-{chain}.{name}.npz" for chain in range(len(self._states))]
        try:
            for file, state in zip(files, self._states, strict=True):
                np.savez(self._folder / file, **state)
        except OSError as error:
            raise cannot_write(self._folder, error) from None
        try:
            yield [*files, *[None] * (len(self._chains) - len(files))]
        finally:
            for file in files:
                (self._folder / file).unlink(missing_ok=True)

    @property
    def rmse(self) -> float:
        """RMSE of the ratings by the last draw of each chain; see `Chains.rmse`."""
        return float(np.sqrt(np.mean([rmse**2 for rmse in self._rmse])))

    def state(self) -> dict[str, np.ndarray]:
        """A copy of what the next sweeps start from."""
        return {
            f"{chain}_{name}": array.copy() for chain, state in enumerate(self._states) for name, array in state.items()
        }
