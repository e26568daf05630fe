"""Writes `workflows/*.json` for ComfyUI's template browser, their API twins, and `locales/en`, from one description.

`python -m tests.host.make_workflows` with a ComfyUI at hand; a test checks that what lies there is what it would write.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from .find_comfyui import ROOT, find_comfyuis
from .graph import Info, to_api, to_workflow
from .server import Server
from .workflows import WORKFLOWS, make

TWINS = Path(__file__).parent / "api"
NODE_NAMES = ROOT / "locales" / "en" / "nodeDefs.json"


def files(info: Info) -> dict[Path, Any]:
    """What each file must hold, by its path."""
    graphs = {name: make(name) for name in WORKFLOWS}
    return {
        **{ROOT / "workflows" / f"{name}.json": to_workflow(graph, info) for name, graph in graphs.items()},
        **{TWINS / f"{name}.json": to_api(graph, info) for name, graph in graphs.items()},
        NODE_NAMES: {name: _names(node) for name, node in sorted(info.items()) if name.startswith("KeySync")},
    }


def _names(described: dict[str, Any]) -> dict[str, Any]:
    """A node's texts as the frontend's translations hold them."""
    inputs = {
        name: {"name": name, "tooltip": said[1].get("tooltip", "")}
        for group in ("required", "optional")
        for name, said in described["input"].get(group, {}).items()
    }
    outputs = {
        str(place): {"name": name} | ({"tooltip": tooltip} if tooltip else {})
        for place, (name, tooltip) in enumerate(
            zip(described["output_name"], described["output_tooltips"], strict=True)
        )
    }
    return {key: described[key] for key in ("display_name", "description")} | {"inputs": inputs, "outputs": outputs}


def main() -> None:
    with tempfile.TemporaryDirectory() as base:
        server = Server(find_comfyuis()[0], Path(base))
        try:
            write(files(server.info))
        finally:
            server.stop()


def write(made: dict[Path, Any]) -> None:
    for path, content in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
