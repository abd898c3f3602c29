"""Time and peak memory of reading 8.5 million generated ratings, each in a process of its own.

``python scripts/benchmark_reading.py [--rows N] [--repeats N] [--old FOLDER]``; FOLDER holds another version of the
package (a ``git worktree``), which is timed in turns with this one on the text tables.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

HERE = Path(__file__).resolve().parents[1]
READ = """
import resource, sys, time
from nnmf.tables import Ratings
start = time.perf_counter()
table = Ratings.from_file(sys.argv[1], cache=False)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, len(table))
"""
TEXT = "header false, quote '', escape '', delimiter '\x01'"
TABLES = {
    "ratings.dat": ("SELECT u || '::' || i || '::' || r || '::' || t FROM t", TEXT),
    "texts.csv": ("SELECT 'user_' || u || ',it' || hex(i * 7919) || ',' || r FROM t", TEXT),
    "ratings.parquet": ("SELECT u AS user, i AS item, r AS rating, t AS timestamp FROM t", "format parquet"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=8_500_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--old", metavar="FOLDER")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        con = duckdb.connect()
        # Distinct pairs in an order without order: a prime times the number, over users times items.
        con.execute(
            f"CREATE TABLE t AS SELECT p // 10700 + 1 AS u, p % 10700 + 1 AS i, (p % 10 + 1) / 2 AS r, 789000000 + p AS t "
            f"FROM (SELECT (range * 433494437) % 749000000 AS p FROM range({arguments.rows}))"
        )
        for name, (query, options) in TABLES.items():
            con.execute(f"COPY ({query}) TO '{folder}/{name}' ({options})")
        con.close()
        print("| table | version | s | MB |\n|---|---|---|---|")
        for name in TABLES:
            versions = {"this": HERE}
            if arguments.old and not name.endswith("parquet"):
                versions["old"] = Path(arguments.old)
            runs: dict[str, list[tuple[float, int]]] = {version: [] for version in versions}
            for _ in range(arguments.repeats):
                for version, root in versions.items():
                    runs[version].append(read(Path(folder) / name, root))
            for version, found in runs.items():
                seconds, megabytes = (statistics.median(column) for column in zip(*found, strict=True))
                print(f"| {name} | {version} | {seconds:.2f} | {megabytes:.0f} |", flush=True)


def read(path: Path, root: Path) -> tuple[float, int]:
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], env=environment, cwd=root, check=True, capture_output=True, text=True
    )
    seconds, megabytes, _ = done.stdout.split()
    return float(seconds), int(megabytes)


if __name__ == "__main__":
    main()
