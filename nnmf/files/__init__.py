"""Files that are whole or not there: atomic writes, folders of files, places, locks, downloads."""

from __future__ import annotations

from ._download import Progress, check_digest, download, unreachable
from ._folders import (
    ASIDE,
    MANIFEST,
    Writer,
    cannot_write,
    clear,
    commit,
    peek,
    read_manifest,
    sweep,
    write_arrays,
    write_file,
    write_text,
)
from ._places import cache_dir, lock
from ._unpack import unpack

__all__ = [
    "ASIDE",
    "MANIFEST",
    "Progress",
    "Writer",
    "cache_dir",
    "cannot_write",
    "check_digest",
    "clear",
    "commit",
    "download",
    "lock",
    "peek",
    "read_manifest",
    "sweep",
    "unpack",
    "unreachable",
    "write_arrays",
    "write_file",
    "write_text",
]
