"""What the training package exports, in a running ComfyUI: put into the models folder and chosen, nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from keysync.systems.keysync.small import SMALL

from .graph import to_api
from .server import Server
from .workflows import make


def test_a_clip_is_dubbed_with_the_exports(server: Server, trained: dict[str, Path]) -> None:
    prompt = to_api(make("simple_dub"), server.info)
    for stage, path in trained.items():
        shutil.copy(path, server.base / "models" / "keysync" / f"trained_{stage}.safetensors")
    names = {SMALL[stage].name: f"trained_{stage}.safetensors" for stage in trained}
    loaders = [node for node in prompt.values() if node["class_type"] == "KeySyncLoadModel"]
    for node in loaders:
        node["inputs"]["model_name"] = names[node["inputs"]["model_name"]]
    run = server.run(prompt)
    assert run.error is None
    (video,) = server.saved(run)
    (told,) = [output["text"] for data in run.of("executed") if (output := data["output"]) and "text" in output]
    report = json.loads(told[0])
    assert report["mask"] == "box"
    built_in = server.run(to_api(make("simple_dub"), server.info))
    assert built_in.error is None
    assert video.read_bytes() != server.saved(built_in)[0].read_bytes()
