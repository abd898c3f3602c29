"""The processes of MXNet's parameter server: started, told what to do, watched and ended, here or where a Dask cluster's workers are.

Nothing here imports MXNet but in such a process.
"""

from __future__ import annotations

from ._child import PREFIX, Orders, obey
from ._job import Job, ProcessEnded, places_of

__all__ = ["PREFIX", "Job", "Orders", "ProcessEnded", "obey", "places_of"]
