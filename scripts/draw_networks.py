"""Draw each network with `mx.viz` into docs/NETWORK.png. Needs Graphviz's ``dot``.

python scripts/draw_networks.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

from nnmf import _mxnet
from nnmf.networks import NETWORKS, build_network

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
mx = _mxnet.load()
for name in NETWORKS:
    symbol = build_network(name, n_users=943, n_items=1650)
    shapes = {"user": (64,), "item": (64,), "rating": (64,)}
    drawing = mx.viz.plot_network(
        symbol, title=name, shape=shapes, hide_weights=True, save_format="png", node_attrs={"fixedsize": "false"}
    )
    drawing.render(str(folder / name), cleanup=True)
    print(folder / f"{name}.png")
