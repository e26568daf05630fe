"""What the training package exports, in a running ComfyUI: put into the models folder and chosen, nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from keysync.systems.keysync.small import SMALL

from .graph import to_api
from .server import Run, Server
from .workflows import briefly, make


def test_a_clip_is_dubbed_with_the_exports(server: Server, trained: dict[str, Path]) -> None:
    prompt = plain_dub(server)
    for stage, path in trained.items():
        shutil.copy(path, server.base / "models" / "keysync" / f"trained_{stage}.safetensors")
    names = {SMALL[stage].name: f"trained_{stage}.safetensors" for stage in trained}
    loaders = [node for node in prompt.values() if node["class_type"] == "KeySyncLoadModel"]
    for node in loaders:
        node["inputs"]["model_name"] = names[node["inputs"]["model_name"]]
    run = server.run(prompt)
    assert run.error is None
    built_in = server.run(plain_dub(server))
    assert built_in.error is None
    assert json.loads(told(run)[0])["mask"] == "box"
    assert "keyframe" in told(run)[1]
    assert "knows rendered heads only" not in told(run)[1]
    assert "knows rendered heads only" in told(built_in)[1]
    assert dubbed(server, run) != dubbed(server, built_in)


def plain_dub(server: Server) -> dict[str, Any]:
    """The simple dub with its report and its summary shown."""
    graph = make("simple_dub")
    (dubbed,) = (node for node in graph.nodes if node.kind == "KeySyncDubVideo")
    graph.nodes = [node for node in graph.nodes if node.kind != "PreviewAny"]
    for output in ("report", "summary"):
        graph.add("PreviewAny", (0, 0), source=dubbed[output], title=output)
    return briefly(to_api(graph, server.info))


def dubbed(server: Server, run: Run) -> bytes:
    (video,) = (path for path in server.saved(run) if "before" not in path.name)
    return video.read_bytes()


def told(run: Run) -> list[str]:
    """What the run showed as text: the report and the summary."""
    shown = [output["text"][0] for data in run.of("executed") if (output := data["output"]) and "text" in output]
    return sorted(shown, key=lambda text: not text.startswith("{"))
