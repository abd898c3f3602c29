"""Draw each network for ML-100K's numbers of users and items into docs/NETWORK.svg.

python scripts/draw_networks.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

from nnmf.networks import NETWORKS, build_network, draw

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
for name in NETWORKS:
    print(draw(build_network(name, n_users=943, n_items=1682), folder / f"{name}.svg"))
