"""Every example workflow runs to a saved video with an empty input folder, and its two forms say the same.

Tiny files stand for what a workflow wants downloaded.
"""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest

from keysync.systems.keysync.small import SMALL
from keysync.weights.published import PUBLISHED

from .find_comfyui import ROOT
from .graph import NOTE, TITLE, to_api
from .make_workflows import TWINS, files
from .server import Server
from .workflows import WORKFLOWS, briefly, make, with_tiny

WRITTEN_WITH = "0.33.0"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_runs_to_a_saved_video(server: Server, name: str) -> None:
    assert not [path for path in (server.base / "input").rglob("*") if path.is_file()]
    prompt = briefly(with_tiny(to_api(make(name), server.info)))
    run = server.run(prompt)
    assert run.error is None
    videos = [path for path in server.saved(run) if path.suffix == ".mp4"]
    assert len(videos) == sum(node["class_type"] == "SaveVideo" for node in prompt.values())
    assert all(path.stat().st_size > 1000 for path in videos)
    assert run.of("progress") or run.of("progress_state")


def test_the_files_are_what_their_description_makes(server: Server) -> None:
    if server.comfyui.version != WRITTEN_WITH:
        pytest.skip(f"they were written with ComfyUI {WRITTEN_WITH}, whose own nodes differ from this one's")
    for path, content in files(server.info).items():
        assert json.loads(path.read_text(encoding="utf-8")) == content, f"{path}: run python -m tests.documents"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_says_where_its_models_come_from(name: str) -> None:
    workflow = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    own = {path.name for path in SMALL.values()}
    for node in workflow["nodes"]:
        models = node["properties"].get("models", [])
        if "Load" in node["type"] and node["type"] != "KeySyncLoadExample":
            assert len(models) == own.isdisjoint(node["widgets_values"])
        for model in models:
            assert model["name"] in node["widgets_values"]
            assert model["url"].startswith("https://huggingface.co/")
            assert model["directory"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_explains_itself_and_needs_no_file_of_the_users(name: str) -> None:
    nodes = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))["nodes"]
    kinds = [node["type"] for node in nodes]
    assert kinds.count("MarkdownNote") == 1
    assert "KeySyncLoadExample" in kinds
    assert not {"LoadVideo", "LoadAudio", "LoadImage"} & set(kinds)
    (text,) = next(node["widgets_values"] for node in nodes if node["type"] == "MarkdownNote")
    assert "*Load Video* and *Load Audio*" in text
    assert ("KeySyncTrackFace" in kinds) <= ("PreviewImage" in kinds)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_nodes_overlap(name: str) -> None:
    nodes = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))["nodes"]
    boxes = [(node["id"], *node["pos"], *node["size"]) for node in nodes]
    for (one, x0, y0, w0, h0), (other, x1, y1, w1, h1) in combinations(boxes, 2):
        beside = x0 + w0 <= x1 or x1 + w1 <= x0
        assert beside or y0 + h0 <= y1 - TITLE or y1 + h1 <= y0 - TITLE, f"{one} and {other}"


def test_the_published_files_have_the_names_and_places_of_the_table(server: Server) -> None:
    """ComfyUI's downloads take a known folder of models only, and a loader lists the name that its widget holds."""
    workflow = json.loads((ROOT / "workflows" / "simple_dub_published.json").read_text(encoding="utf-8"))
    models = [model for node in workflow["nodes"] for model in node["properties"].get("models", [])]
    assert models == [{"name": file.name, "url": file.url, "directory": file.directory} for file in PUBLISHED]
    assert {file.directory for file in PUBLISHED} <= set(server.get("/models"))
    (note,) = (node for node in workflow["nodes"] if node["type"] == NOTE)
    for file in PUBLISHED:
        assert f"`models/{file.directory}/{file.name}`" in note["widgets_values"][0]


def test_only_three_workflows_want_a_download() -> None:
    wanting = {name for name in WORKFLOWS if any(node.models for node in make(name).nodes)}
    assert wanting == {"simple_dub_published", "occlusion_sam2", "face_restorer_slot"}


def test_every_workflow_has_a_picture_and_a_twin() -> None:
    folder = ROOT / "workflows"
    assert {path.stem for path in folder.glob("*.json")} == set(WORKFLOWS)
    assert {path.stem for path in folder.glob("*.jpg")} == set(WORKFLOWS)
    assert {path.stem for path in TWINS.glob("*.json")} == set(WORKFLOWS)
    assert all(path.stat().st_size < 200_000 for path in Path(folder).glob("*.jpg"))
