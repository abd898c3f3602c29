"""Training speed of the tutorial's networks against the tutorial's own loop and PyTorch, in alternating runs; medians.

    NNMF_DATA=... python scripts/benchmark_training.py --opponents FOLDER [--torch-python PYTHON] [--runs 5] [--readme README.md]

FOLDER holds ``tutorial_mxnet.py`` and ``torch_mf.py``, which print a JSON line with ``samples_per_second``; PYTHON is an
interpreter that has torch (default: this one). Ours, which has MXNet compute as commands do, is the last epoch's figure too,
metrics and upload included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from compare_networks import medians, put_between

EPOCHS = 3
OURS = """
import json, sys
from nnmf import _mxnet, fit
_mxnet.compute_in_caller()
from nnmf.config import DataConfig
from nnmf.datasets import load_tables
tables = load_tables(DataConfig(dataset="ml-100k", fold="u1"))
model = fit(sys.argv[1], tables.train, tables.test, n_epochs=int(sys.argv[2]), batch_size=int(sys.argv[3]), preset="tutorial", ctx="cpu")
print(json.dumps({"samples_per_second": model.history[-1].samples_per_second}))
"""


def speed(command: list[str]) -> float:
    """Samples a second that a command's last line of output tells."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["samples_per_second"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--opponents", type=Path, required=True)
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--readme", type=Path, help="write the table between this file's markers")
    arguments = parser.parse_args()
    data = str(Path(os.environ["NNMF_DATA"]) / "ml-100k")
    tutorial, torch = (str(arguments.opponents / name) for name in ("tutorial_mxnet.py", "torch_mf.py"))
    lines = [
        "| network | ours, batch 64 | tutorial, batch 64 | PyTorch, batch 64 | ours, batch 1024 | ours / tutorial | ours / PyTorch | 1024 / 64 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for ours, theirs in (("plain", "plain"), ("one_layer_mlp", "mlp")):
        commands = {
            "ours": [sys.executable, "-c", OURS, ours, str(EPOCHS), "64"],
            "tutorial": [sys.executable, tutorial, theirs, str(EPOCHS), data],
            "torch 1": [arguments.torch_python, torch, theirs, str(EPOCHS), "64", "1", data],
            "torch 2": [arguments.torch_python, torch, theirs, str(EPOCHS), "64", "2", data],
            "ours 1024": [sys.executable, "-c", OURS, ours, str(EPOCHS), "1024"],
        }
        middle = medians(ours, {name: partial(speed, command) for name, command in commands.items()}, arguments.runs)
        best_torch = max(middle["torch 1"], middle["torch 2"])
        lines.append(
            f"| `{ours}` | {middle['ours']:,.0f} | {middle['tutorial']:,.0f} | {best_torch:,.0f} | {middle['ours 1024']:,.0f} "
            f"| {middle['ours'] / middle['tutorial']:.1f} | {middle['ours'] / best_torch:.1f} | {middle['ours 1024'] / middle['ours']:.1f} |"
        )
    print("\n".join(lines))
    if arguments.readme:
        put_between(arguments.readme, "speed", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
