"""Dask clusters: what a user names becomes a client of one, whose workers are looked at before they train, and the other way round.

Nothing else imports Dask, and this room does when a cluster is asked for alone.
"""

from __future__ import annotations

from ._graph import Graph, LostWorker, persistently
from ._joining import check_cluster, joined
from ._sharing import shared_folder, unreadable
from ._workers import Worker, check_workers, threads_of, workers_of

__all__ = [
    "Graph",
    "LostWorker",
    "Worker",
    "check_cluster",
    "check_workers",
    "joined",
    "persistently",
    "shared_folder",
    "threads_of",
    "unreadable",
    "workers_of",
]
