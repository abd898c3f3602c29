"""Compiled loops where Numba's cache cannot be used, and the cores that may run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nnmf import _compiled
from nnmf._compiled import _cores, usable_cores

ROOT = Path(__file__).parents[1]
LOOPS = """
from nnmf._compiled import compiled

@compiled
def doubled(x):
    return 2 * x

@compiled(fastmath=True)
def halved(x):
    return x / 2
"""
USE = "from loops import doubled, halved; print(doubled(21), halved(5))"


def answers(folder: Path, first: str = "", **environment: str) -> tuple[str, list[str]]:
    """What a process prints that uses two loops of a module in `folder`, and the lines on its standard error."""
    (folder / "loops.py").write_text(LOOPS)
    os.utime(folder / "loops.py", (1e9, 1e9))  # else Numba takes the rewritten file for a newer one
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    path = os.pathsep.join([str(ROOT), str(folder)])
    done = subprocess.run(
        [sys.executable, "-c", f"{first}\n{USE}"],
        env={**clean, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr.splitlines()


def cached(folder: Path, ending: str) -> list[Path]:
    found = sorted(folder.rglob(f"*.{ending}"))
    assert len(found) == 2
    return found


@pytest.mark.parametrize(
    "ending, damage", [("nbi", b""), ("nbi", b"garbage"), ("nbc", b"\0" * 4096), ("nbc", None)], ids=str
)
def test_a_damaged_cache_is_said_once_and_made_anew(tmp_path: Path, ending: str, damage: bytes | None) -> None:
    cache = str(tmp_path / "cache")
    assert answers(tmp_path, NUMBA_CACHE_DIR=cache) == ("42 2.5\n", [])
    for path in cached(tmp_path, ending):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    printed, said = answers(tmp_path, NUMBA_CACHE_DIR=cache)
    assert printed == "42 2.5\n"
    assert len(said) == 1
    assert re.match(
        rf"Numba's cache in {re.escape(cache)}\S* is damaged or unreadable \(\w+: .*\): compiling anew\.$", said[0]
    )
    before = [path.stat().st_mtime_ns for path in cached(tmp_path, "nbc")]
    assert answers(tmp_path, NUMBA_CACHE_DIR=cache) == ("42 2.5\n", [])
    assert [path.stat().st_mtime_ns for path in cached(tmp_path, "nbc")] == before  # taken, not written again


LOST = r"every process compiles for some seconds; \$NUMBA_CACHE_DIR may name a folder that can be written\.$"


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
def test_a_full_disk_costs_time_alone(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    printed, said = answers(tmp_path, limit, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert (printed, len(said)) == ("42 2.5\n", 1)
    assert re.match(rf"Numba's cache in \S+ cannot be written \(OSError: .*File too large.*\): {LOST}", said[0])
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_no_folder_that_can_be_written(tmp_path: Path) -> None:
    """Files in the place of Numba's folders, since root ignores modes."""
    for name in ("__pycache__", "home"):
        (tmp_path / name).write_text("")
    home = str(tmp_path / "home")
    printed, said = answers(tmp_path, HOME=home, XDG_CACHE_HOME=home, NUMBA_CACHE_DIR=home)
    assert (printed, len(said)) == ("42 2.5\n", 1)
    assert re.match(rf"Numba finds no folder to keep compiled loops in \(RuntimeError: .*\): {LOST}", said[0])


def test_without_compiling_the_loops_are_python(tmp_path: Path) -> None:
    assert answers(tmp_path, NUMBA_DISABLE_JIT="1", NUMBA_CACHE_DIR=str(tmp_path)) == ("42 2.5\n", [])


DEBUG = "import logging; logging.basicConfig(level=logging.DEBUG)"


def test_numba_is_quiet_where_the_root_logger_shows_everything(tmp_path: Path) -> None:
    assert answers(tmp_path, DEBUG, NUMBA_CACHE_DIR=str(tmp_path / "cache")) == ("42 2.5\n", [])


def test_numba_speaks_where_its_own_level_was_set(tmp_path: Path) -> None:
    own = DEBUG + "; logging.getLogger('numba').setLevel(logging.DEBUG)"
    assert len(answers(tmp_path, own, NUMBA_CACHE_DIR=str(tmp_path / "cache"))[1]) > 10


def test_cores_do_without_numba() -> None:
    code = "import sys; from nnmf._compiled import usable_cores; usable_cores(); print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False\n", done.stderr
    assert set(_compiled.__all__) <= set(dir(_compiled))


# --- cores


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Stand-ins for the affinity, for the control group that this process is in, and for the files of the groups."""

    def stand_in(affinity: int, own: str = "", **files: str) -> None:
        monkeypatch.setattr(_cores.os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(_cores, "_OWN_CGROUPS", tmp_path / "own")
        monkeypatch.setattr(_cores, "_CGROUPS", tmp_path / "cgroup")

    return stand_in


V1 = "9:memory:/job\n4:cpu,cpuacct:/job\n"


@pytest.mark.parametrize(
    "affinity, own, files, cores",
    [
        (6, "", {}, 6),
        (6, "0::/\n", {"cpu.max": "max 100000\n"}, 6),
        (6, "0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        (6, "0::/\n", {"cpu.max": "150000 100000\n"}, 2),  # one and a half
        (6, "0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        (1, "0::/\n", {"cpu.max": "200000 100000\n"}, 1),
        (8, "0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),  # a group above limits it
        (8, "0::/a/b\n", {"a/b/cpu.max": "200000 100000", "a/cpu.max": "300000 100000"}, 2),
        (8, "0::/of/the/host\n", {"cpu.max": "300000 100000"}, 3),  # a path that the container does not see
        (8, "0::/../up\n", {"cpu.max": "300000 100000"}, 3),
        (8, "0::/\n", {"cpu.max": "nonsense"}, 8),
        (8, "0::/\n", {"cpu.max": "100000 0"}, 8),
        (8, V1, {"cpu/job/cpu.cfs_quota_us": "400000", "cpu/job/cpu.cfs_period_us": "100000"}, 4),
        (8, V1, {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000"}, 8),
        (8, V1, {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        (8, "garbage\n", {}, 8),
    ],
)
def test_usable_cores(machine, affinity: int, own: str, files: dict[str, str], cores: int) -> None:
    machine(affinity, own, **files)
    assert usable_cores() == cores


def test_usable_cores_without_affinity(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(8)
    monkeypatch.delattr(_cores.os, "sched_getaffinity")
    monkeypatch.setattr(_cores.os, "cpu_count", lambda: 5)
    assert usable_cores() == 5
    monkeypatch.setattr(_cores.os, "cpu_count", lambda: None)
    assert usable_cores() == 1
    monkeypatch.setattr(_cores, "_OWN_CGROUPS", Path("/no/such/file"))
    assert usable_cores() == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="sets the affinity as Linux does")
def test_usable_cores_follow_the_real_affinity() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from nnmf._compiled import usable_cores; print(usable_cores())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "1\n", done.stderr


def test_a_cache_that_is_a_file_is_said(tmp_path):
    (tmp_path / "file").touch()
    printed, said = answers(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "file"))
    assert printed == "42 2.5\n" and len(said) == 1
    assert f"$NUMBA_CACHE_DIR names {tmp_path / 'file'}, which is no folder that can be written" in said[0]
