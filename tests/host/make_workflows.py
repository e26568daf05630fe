"""Makes `workflows/*.json` for ComfyUI's template browser with their API twins, and `subgraphs/*.json` for its node
library, each from one description.

`python -m tests.documents` writes them with a ComfyUI at hand; a test compares what lies there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .blueprints import BLUEPRINTS, to_blueprint
from .find_comfyui import ROOT
from .graph import Info, to_api, to_workflow
from .workflows import WORKFLOWS, make

TWINS = Path(__file__).parent / "api"


def files(info: Info) -> dict[Path, Any]:
    """What each file must hold, by its path."""
    graphs = {name: make(name) for name in WORKFLOWS}
    return {
        **{ROOT / "workflows" / f"{name}.json": to_workflow(graph, info) for name, graph in graphs.items()},
        **{TWINS / f"{name}.json": to_api(graph, info) for name, graph in graphs.items()},
        **{ROOT / "subgraphs" / f"{name}.json": to_blueprint(name, info) for name in BLUEPRINTS},
    }
