"""Files that are whole or not there: atomic writes, folders of files, places, locks, downloads."""

from __future__ import annotations

from ._atomic import ASIDE, Writer, cannot_write, content, sweep, write_file, write_text
from ._download import Progress, check_digest, download, unreachable
from ._folders import OWN, clear, commit, peek, read_manifest, stored, strangers
from ._lock import Claim, lock
from ._mapped import BLOCK, Parts, Spill, gather, map_npy, release, walk, write_arrays, write_npy
from ._places import cache_dir
from ._unpack import unpack

__all__ = [
    "ASIDE",
    "BLOCK",
    "OWN",
    "Claim",
    "Parts",
    "Progress",
    "Spill",
    "Writer",
    "cache_dir",
    "cannot_write",
    "check_digest",
    "clear",
    "commit",
    "content",
    "download",
    "gather",
    "lock",
    "map_npy",
    "peek",
    "read_manifest",
    "release",
    "stored",
    "strangers",
    "sweep",
    "unpack",
    "unreachable",
    "walk",
    "write_arrays",
    "write_file",
    "write_npy",
    "write_text",
]
