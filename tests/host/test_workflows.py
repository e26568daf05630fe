"""Every example workflow runs to a saved video with an empty input folder, and its two forms say the same.

Tiny files stand for what a workflow wants downloaded.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from keysync.demo import EXAMPLES as EXAMPLE_CLIPS
from keysync.demo import SPEECH, TALK, TALK_TWO
from keysync.media.audio import read_speech
from keysync.media.reader import VideoReader
from keysync.systems.flashlips.small import FLASHLIPS_SMALL
from keysync.systems.keysync.small import SMALL
from keysync.weights.published import PUBLISHED

from .find_comfyui import ROOT
from .graph import NOTE, TITLE, Link, to_api
from .make_workflows import TWINS, files
from .server import Server
from .workflows import APPS, FACELESS, NEWER, UNLINKED, WORKFLOWS, briefly, make, wants_files, with_tiny

WRITTEN_WITH = "0.33.0"
EXAMPLES = [name for name in WORKFLOWS if name not in APPS]
RUNNING = [name for name in EXAMPLES if name not in FACELESS]


def lacking_nodes(server: Server, name: str) -> set[str]:
    """The nodes of a workflow that a ComfyUI does not have."""
    return {node.kind for node in make(name).nodes} - server.info.keys() - {NOTE}


def frames_of(path: Path) -> NDArray[np.int16]:
    """(n, h, w, 3)."""
    return np.stack([frame for _, frame in VideoReader(path).frames()]).astype(np.int16)


def loudness(path: Path, frames: slice) -> float:
    """The largest sample of the speech during these frames at 25 fps, 0..1."""
    waveform, _ = read_speech(path)
    return float(waveform[frames.start * 640 : frames.stop * 640].abs().max())


@pytest.mark.parametrize("name", RUNNING)
def test_workflow_runs_to_a_saved_video(server: Server, name: str) -> None:
    assert not [path for path in (server.base / "input").rglob("*") if path.is_file()]
    if lacking := lacking_nodes(server, name):
        assert lacking == NEWER[name]
        pytest.skip(f"ComfyUI {server.comfyui.version} has no {', '.join(lacking)}")
    prompt = briefly(with_tiny(to_api(make(name), server.info)))
    run = server.run(prompt)
    assert run.error is None
    videos = [path for path in server.saved(run) if path.suffix == ".mp4"]
    clips = len(EXAMPLE_CLIPS) if name == "list_of_clips" else 1
    assert len(videos) == clips * sum(node["class_type"] == "SaveVideo" for node in prompt.values())
    assert all(path.stat().st_size > 1000 for path in videos)
    assert run.of("progress") or run.of("progress_state")


@pytest.mark.parametrize("name", sorted(FACELESS))
def test_workflow_runs_up_to_the_face_that_untrained_weights_do_not_draw(server: Server, name: str) -> None:
    run = server.run(briefly(with_tiny(to_api(make(name), server.info))))
    assert run.error is not None
    assert "no face was found" in str(run.error)
    assert "KeySyncDubVideo" in str(run.error)


def test_a_portrait_is_animated_then_dubbed_to_the_end(server: Server) -> None:
    """Untrained weights draw no face: where it is says the face in the pictures that the portrait is taken from."""
    graph = make("animate_and_dub")
    by_kind = {node.kind: node for node in graph.nodes}
    talking, models = by_kind["KeySyncAnimatePortrait"], by_kind["KeySyncLoadKeyFaceModel"]

    def enlarge(images: Link) -> Link:
        return graph.add("ImageScaleBy", (0, 0), image=images, upscale_method="bilinear", scale_by=4.0)[0]

    by_kind["CreateVideo"].inputs["images"] = enlarge(talking["images"])
    pictures = talking.inputs["image"]
    track = graph.add("KeySyncTrackFace", (0, 0), images=pictures)
    model = models["keyframe_model"]
    crops = graph.add("KeySyncCropFace", (0, 0), images=pictures, track=track["track"], model=model)
    place = graph.add("KeySyncTrackFace", (0, 0), images=enlarge(crops["crops"]))
    by_kind["KeySyncDubVideo"].inputs["track"] = place["track"]
    run = server.run(briefly(with_tiny(to_api(graph, server.info))))
    assert run.error is None
    (dubbed,) = (path for path in server.saved(run) if path.name.startswith("portrait_dubbed_0"))
    assert frames_of(dubbed).shape == (30, 256, 256, 3)
    (summary,) = (texts[0] for data in run.of("executed") if (texts := (data["output"] or {}).get("text")))
    assert summary.startswith("Dubbed")
    assert "30 of 30 frames" in summary


def test_each_of_two_speakers_has_a_voice(server: Server) -> None:
    run = server.run(to_api(make("two_speakers"), server.info))
    assert run.error is None
    (summary,) = (texts[0] for data in run.of("executed") if (texts := (data["output"] or {}).get("text")))
    assert summary.startswith("Dubbed face 0 in 67 and face 1 in 41 frames, in all 100 of 100 frames")
    (video,) = server.saved(run)
    before, after = (frames_of(path) for path in (TALK_TWO, video))
    speaking, listening = slice(5, 55), slice(65, 95)
    middle = before.shape[2] // 2
    changed = np.abs(before - after).max(-1)
    for side in (changed[:, :, :middle], changed[:, :, middle:]):
        assert (side > 60).any((1, 2)).sum() > 20, "each person has a new mouth in some frames"
    assert loudness(video, speaking) > 0.05
    assert loudness(video, listening) > 0.05


def test_an_upscale_model_runs_in_the_slot_of_the_restorer(server: Server) -> None:
    graph = make("face_restorer_slot")
    (scaled,) = (node for node in graph.nodes if node.kind == "ImageScaleBy")
    (sharpened,) = (node for node in graph.nodes if node.kind == "ImageSharpen")
    loader = graph.add("UpscaleModelLoader", (0, 0), model_name="tiny_upscaler.safetensors")
    upscaled = graph.add("ImageUpscaleWithModel", (0, 0), upscale_model=loader[0], image=scaled.inputs["image"])
    (pasted,) = (node for node in graph.nodes if node.kind == "KeySyncPasteFace")
    pasted.inputs["crops"] = upscaled["IMAGE"]
    graph.nodes = [node for node in graph.nodes if node not in (scaled, sharpened)]
    run = server.run(briefly(to_api(graph, server.info)))
    assert run.error is None
    assert len(server.saved(run)) == 1


@pytest.fixture
def uploaded(server: Server) -> Iterator[dict[str, str]]:
    """Files that a user has uploaded, by the widget that takes one; they are gone afterwards."""
    files = {"file": TALK, "audio": SPEECH}
    copies = [Path(shutil.copy(path, server.base / "input")) for path in files.values()]
    yield {widget: path.name for widget, path in files.items()}
    for copy in copies:
        copy.unlink()


@pytest.mark.parametrize("name", APPS)
def test_an_app_runs_with_the_files_of_its_user(server: Server, uploaded: dict[str, str], name: str) -> None:
    graph = make(name)
    for node, widget in graph.asked:
        node.inputs[widget] = uploaded.get(widget, node.inputs.get(widget))
    run = server.run(to_api(graph, server.info))
    assert run.error is None
    assert len(server.saved(run)) == 1


@pytest.mark.parametrize("name", APPS)
def test_an_app_asks_for_widgets_that_it_has_and_shows_results(name: str) -> None:
    workflow = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert workflow["extra"]["linearMode"] is True
    asked, shown = (workflow["extra"]["linearData"][side] for side in ("inputs", "outputs"))
    for node, widget in asked:
        assert widget in [port["widget"]["name"] for port in nodes[node]["inputs"] if "widget" in port]
    assert [nodes[node]["type"] for node, _ in asked[:2]] == ["LoadVideo", "LoadAudio"]
    assert [nodes[node]["type"] for node in shown] == ["SaveVideo", "PreviewAny"]


def test_the_files_are_what_their_description_makes(server: Server) -> None:
    if server.comfyui.version != WRITTEN_WITH:
        pytest.skip(f"they were written with ComfyUI {WRITTEN_WITH}, whose own nodes differ from this one's")
    for path, content in files(server.info).items():
        assert json.loads(path.read_text(encoding="utf-8")) == content, f"{path}: run python -m tests.documents"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_says_where_its_models_come_from(name: str) -> None:
    workflow = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    own = {path.name for path in (*SMALL.values(), FLASHLIPS_SMALL)}
    for node in workflow["nodes"]:
        models = node["properties"].get("models", [])
        if "Load" in node["type"] and node["type"] not in ("KeySyncLoadExample", "LoadVideo", "LoadAudio"):
            assert len(models) == (own | set(UNLINKED)).isdisjoint(node["widgets_values"])
        for model in models:
            assert model["name"] in node["widgets_values"]
            assert model["url"].startswith("https://huggingface.co/")
            assert model["directory"]


@pytest.mark.parametrize("name", EXAMPLES)
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


@pytest.mark.parametrize("name", APPS)
def test_an_app_explains_itself(name: str) -> None:
    nodes = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))["nodes"]
    assert [node["type"] for node in nodes].count(NOTE) == 1


def test_only_four_workflows_want_a_download() -> None:
    wanting = {name for name in WORKFLOWS if any(node.models for node in make(name).nodes)}
    assert wanting == {"simple_dub_published", "occlusion_sam2", "animate_portrait", "animate_and_dub"}
    assert {name for name in WORKFLOWS if wants_files(name)} == wanting


def test_every_workflow_has_a_picture_and_a_twin() -> None:
    folder = ROOT / "workflows"
    assert {path.stem for path in folder.glob("*.json")} == set(WORKFLOWS)
    assert {path.stem for path in folder.glob("*.jpg")} == set(WORKFLOWS)
    assert {path.stem for path in TWINS.glob("*.json")} == set(WORKFLOWS)
    assert all(path.stat().st_size < 200_000 for path in Path(folder).glob("*.jpg"))
