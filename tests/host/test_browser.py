"""ComfyUI's own frontend opens every example workflow, in a headless Chromium, and runs one to a video on screen.

Pictures of what it shows are kept in out/screenshots; nothing compares them.
"""

from __future__ import annotations

import json
import shutil
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keysync.demo import SPEECH, TALK
from keysync.media.audio import read_speech
from keysync.weights.published import PUBLISHED

from .blueprints import BLUEPRINTS
from .browser import Browser, find_chromium
from .find_comfyui import ROOT, ComfyUI
from .graph import to_api
from .server import Server
from .workflows import NEWER, UNLINKED, WORKFLOWS, make, with_tiny

PICTURES = ROOT / "out" / "screenshots"
# No tour of the frontend, and nothing over the graph; words in it at any size.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Locale": "en",
    "Comfy.Minimap.Visible": False,
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,
}
# The ids of nodes that the frontend marks as faulty, and whether it shows a saved video.
FAULTY = "node => node.has_errors || !LiteGraph.registered_node_types[node.type]"
RED = f"app.rootGraph.nodes.filter({FAULTY}).map(node => Number(node.id))"
VIDEO = 'document.querySelector(\'video[src*="type=output"], video source[src*="type=output"]\')'
# What tells of missing models, and the names of the files that have a button there.
DETAILS = "[data-testid=error-overlay-see-errors]"
BUTTONS = (
    "[...document.querySelectorAll('[data-testid=missing-model-download]:not(:disabled)')]"
    ".map(button => button.ariaLabel.replace('Download ', ''))"
)
OLD_BUTTONS = (
    "[...document.querySelectorAll('button[title^=\"https://huggingface.co/\"]:not(:disabled)')]"
    ".map(button => button.title)"
)
EMPTY: dict[str, Any] = {"nodes": [], "links": [], "groups": [], "config": {}, "extra": {}, "version": 0.4}
PAUSE = "new Promise(resolve => setTimeout(resolve, 1500))"
# In App mode, which has another button and another player.
APP_WINDOW = {"width": 1600, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
RUN_APP = "document.querySelector('[data-testid=linear-run-button-icon]').closest('button')"
APP_VIDEO = "document.querySelector('[data-testid=linear-video-output], video')"
# The ComfyUI here whose frontend has App mode, and whose search for nodes is used as a person does.
WITH_APPS = "0.33.0"
# An example before the one node of a blueprint, and Save Video after it.
WIRE = """(() => {
    const made = kind => { const node = LiteGraph.createNode(kind); app.rootGraph.add(node); return node };
    const set = (node, name, value) => { node.widgets.find(widget => widget.name == name).value = value };
    const [dubbed] = app.rootGraph.nodes, clip = made('KeySyncLoadExample'), saved = made('SaveVideo');
    clip.connect(0, dubbed, 0); clip.connect(1, dubbed, 1); dubbed.connect(0, saved, 0);
    set(clip, 'seconds', 1.0); set(dubbed, 'system', 'rewrite'); set(dubbed, 'strength', 1.5);
    set(saved, 'filename_prefix', 'blueprint/dub');
})()"""
UNKNOWN = "app.rootGraph.nodes.filter(node => !LiteGraph.registered_node_types[node.type]).map(node => node.type)"


@pytest.fixture(scope="session")
def browser(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium found: on Debian, apt install chromium")
    server.post("/settings", SETTINGS)
    opened = Browser(chromium, tmp_path_factory.mktemp("chromium"))
    open_page(opened, server)
    yield opened
    opened.close()


def open_page(browser: Browser, server: Server) -> None:
    """Opens ComfyUI and waits until our nodes are there."""
    browser.open(server.url)
    browser.call("Emulation.setDeviceMetricsOverride", width=2400, height=1300, deviceScaleFactor=1, mobile=False)
    browser.wait(
        "window.app && app.rootGraph && app.extensionManager && LiteGraph.registered_node_types.KeySyncDubVideo", 120
    )


def show(browser: Browser, workflow: dict[str, Any]) -> None:
    """Opens a workflow and fits it into the window."""
    browser.run(f"app.loadGraphData({json.dumps(workflow)})")
    browser.wait(f"app.rootGraph.nodes.length == {len(workflow['nodes'])}")
    browser.run("app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    browser.run("new Promise(resolve => setTimeout(resolve, 1000))")


def without_helpers(prompt: dict[str, Any], server: Server) -> dict[str, Any]:
    """A prompt without what only the frontend's own players and buttons add to it."""
    kept = {}
    for place, node in prompt.items():
        described = server.info[node["class_type"]]["input"]
        known = {name for group in described.values() for name in group}
        inputs = {name: value for name, value in node["inputs"].items() if name.partition(".")[0] in known}
        kept[place] = node | {"inputs": inputs}
    return kept


def without_files(prompt: dict[str, Any]) -> dict[str, Any]:
    """A prompt without the files that Load Video and Load Audio name: frontends write none of them differently."""
    loaders = ("LoadVideo", "LoadAudio")
    return {
        place: node | {"inputs": {} if node["class_type"] in loaders else node["inputs"]}
        for place, node in prompt.items()
    }


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_frontend_opens_the_workflow_and_makes_its_twin(
    comfyui: ComfyUI, browser: Browser, server: Server, name: str
) -> None:
    workflow = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    show(browser, workflow)
    if unknown := set(browser.run(UNKNOWN)):
        assert unknown == NEWER[name]
        pytest.skip(f"ComfyUI {comfyui.version} has no {', '.join(unknown)}")
    made = browser.run("app.graphToPrompt().then(prompt => prompt.output)")
    twin = to_api(make(name), server.info)
    assert without_files(without_helpers(made, server)) == without_files(twin)
    missing = {
        node["id"]
        for node in workflow["nodes"]
        if "models" in node["properties"] or not set(UNLINKED).isdisjoint(node.get("widgets_values", []))
    }
    assert set(browser.run(RED)) <= missing
    show(browser, with_tiny(workflow))
    browser.picture(PICTURES / comfyui.version / f"{name}.png")
    assert browser.run(RED) == []


def test_every_published_file_that_is_missing_has_a_button(comfyui: ComfyUI, browser: Browser, server: Server) -> None:
    """No ComfyUI here holds one. The button's address and name are the table's: nothing is clicked, nothing asked."""
    show(browser, json.loads((ROOT / "workflows" / "simple_dub_published.json").read_text(encoding="utf-8")))
    browser.wait(f"document.querySelector('{DETAILS}') || {OLD_BUTTONS}.length")
    if browser.run(f"Boolean(document.querySelector('{DETAILS}'))"):
        browser.run(f"document.querySelector('{DETAILS}').click()")
        buttons, downloadable = BUTTONS, {file.name for file in PUBLISHED}
    else:  # the frontend of ComfyUI 0.8.0, whose buttons have the address as their title, and none for .pt
        buttons, downloadable = OLD_BUTTONS, {file.url for file in PUBLISHED if file.name.endswith(".safetensors")}
    browser.wait(f"{buttons}.length == {len(downloadable)}")
    browser.picture(PICTURES / comfyui.version / "missing_models.png")
    assert set(browser.run(buttons)) == downloadable
    browser.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))")


def test_run_ends_with_the_video_on_screen(comfyui: ComfyUI, browser: Browser, server: Server) -> None:
    show(browser, json.loads((ROOT / "workflows" / "simple_dub.json").read_text(encoding="utf-8")))
    browser.run("app.queuePrompt(0)")
    saved = "app.rootGraph.nodes.find(node => node.type == 'SaveVideo')"
    browser.wait(f"app.nodeOutputs[{saved}.id] || {VIDEO}", 180)
    browser.run("new Promise(resolve => setTimeout(resolve, 2000))")
    browser.picture(PICTURES / comfyui.version / "after_run.png")
    assert browser.run(f"Boolean({VIDEO})"), "the frontend shows no saved video"


def test_an_animation_ends_with_its_emotion_and_its_video_on_screen(
    comfyui: ComfyUI, browser: Browser, server: Server
) -> None:
    show(browser, with_tiny(json.loads((ROOT / "workflows" / "animate_portrait.json").read_text(encoding="utf-8"))))
    node = "app.rootGraph.nodes.find(node => node.type == '{}')".format
    for kind, widget, value in (
        ("KeySyncLoadExample", "seconds", 1.2),
        ("KeySyncEmotionCurve", "emotion", "sad,happy"),
    ):
        chosen = json.dumps(value)
        browser.run(f"{node(kind)}.widgets.find(widget => widget.name == '{widget}').value = {chosen}")
    browser.run("app.queuePrompt(0)")
    browser.wait(f"app.nodeOutputs[{node('SaveVideo')}.id]", 300)
    browser.run(PAUSE)
    browser.picture(PICTURES / comfyui.version / "animate_portrait_after_run.png")
    assert browser.run(f"Boolean({VIDEO})"), "the frontend shows no saved video"
    assert browser.run(f"app.nodeOutputs[{node('KeySyncEmotionCurve')}.id].images.length") == 1
    assert browser.run(RED) == []


def drop(browser: Browser, name: str) -> None:
    """Adds a blueprint to an empty canvas, by the search for nodes."""
    show(browser, EMPTY)
    browser.click(1200, 650, 2)
    browser.run(PAUSE)
    browser.write(name)
    browser.run(PAUSE)
    browser.click(*browser.find(name))
    browser.run(PAUSE)
    browser.click(1600, 1000)


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_blueprint_is_one_node_with_the_widgets_of_those_inside(
    comfyui: ComfyUI, browser: Browser, server: Server, name: str
) -> None:
    blueprint = json.loads((ROOT / "subgraphs" / f"{name}.json").read_text(encoding="utf-8"))
    if comfyui.version == WITH_APPS:
        drop(browser, name)
    else:
        show(browser, blueprint)
    browser.wait("app.rootGraph.nodes.length == 1")
    browser.picture(PICTURES / comfyui.version / f"{name}.png")
    assert browser.run("app.rootGraph.nodes[0].title") == name
    wanted = [wanted for _, wanted in BLUEPRINTS[name]().inputs]
    widgets = browser.run("app.rootGraph.nodes[0].widgets.map(widget => widget.name)")
    assert wanted[:2] == ["video", "audio"]
    assert [widget for widget in widgets if widget in wanted] == wanted[2:]
    assert browser.run("app.rootGraph.nodes[0].outputs.map(output => output.name)") == ["video", "summary"]
    made = browser.run("app.graphToPrompt().then(prompt => prompt.output)")
    kinds = sorted(node.kind for node in BLUEPRINTS[name]().graph.nodes)
    assert sorted(node["class_type"] for node in made.values()) == kinds


def test_a_blueprint_runs_between_other_nodes(comfyui: ComfyUI, browser: Browser, server: Server) -> None:
    name = next(iter(BLUEPRINTS))
    show(browser, json.loads((ROOT / "subgraphs" / f"{name}.json").read_text(encoding="utf-8")))
    browser.run(WIRE)
    made = browser.run("app.graphToPrompt().then(prompt => prompt.output)")
    (dubbed,) = (node["inputs"] for node in made.values() if node["class_type"] == "KeySyncLipSync")
    assert (dubbed["system"], dubbed["strength"]) == ("rewrite", 1.5)
    browser.run("app.queuePrompt(0)")
    saved = "app.rootGraph.nodes.find(node => node.type == 'SaveVideo')"
    browser.wait(f"app.nodeOutputs[{saved}.id] || {VIDEO}", 180)
    browser.run(PAUSE)
    browser.picture(PICTURES / comfyui.version / "blueprint_after_run.png")
    assert browser.run(RED) == []
    assert [path.name for path in (server.base / "output" / "blueprint").iterdir()] == ["dub_00001_.mp4"]


def upload(folder: Path) -> tuple[Path, Path]:
    """Puts a video and a second of speech there."""
    video, speech = Path(shutil.copy(TALK, folder)), folder / "speech.wav"
    with wave.open(str(speech), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((read_speech(SPEECH)[0][:16000] * 32767).short().numpy().tobytes())
    return video, speech


def use_app(browser: Browser, server: Server, files: list[str]) -> None:
    """Opens the app in App mode, chooses a video and a speech that lie in the input folder, and runs it to its end."""
    open_page(browser, server)
    browser.call("Emulation.setDeviceMetricsOverride", **APP_WINDOW)
    workflow = (ROOT / "workflows" / "lip_sync_app.json").read_text(encoding="utf-8")
    browser.run(f"app.loadGraphData({workflow})")
    browser.run(PAUSE)
    browser.click(*browser.find("Skip"))  # the tour of apps
    for asked, name in zip(("Select video...", "Select audio..."), files, strict=True):
        browser.run(PAUSE)
        browser.click(*browser.find(asked))
        browser.run(PAUSE)
        browser.click(*browser.find(name))
    browser.run(PAUSE)
    browser.run(f"{RUN_APP}.click()")
    browser.wait(APP_VIDEO, 300)
    browser.run(PAUSE)


@pytest.fixture
def files(server: Server) -> Iterator[list[str]]:
    """A video and a second of speech that a user has uploaded, by their names; they are gone afterwards."""
    video, speech = upload(server.base / "input")
    yield [video.name, speech.name]
    video.unlink()
    speech.unlink()


@pytest.fixture
def second_browser(browser: Browser, files: list[str], tmp_path: Path) -> Iterator[Browser]:
    """A browser that is opened when the files are there."""
    chromium = find_chromium()
    assert chromium
    opened = Browser(chromium, tmp_path)
    yield opened
    opened.close()


def test_the_app_asks_for_two_files_and_shows_the_video(
    comfyui: ComfyUI, second_browser: Browser, server: Server, files: list[str]
) -> None:
    if comfyui.version != WITH_APPS:
        pytest.skip(f"the frontend of ComfyUI {comfyui.version} has no App mode: it shows the nodes")
    use_app(second_browser, server, files)
    second_browser.picture(PICTURES / comfyui.version / "app.png")


def test_the_server_lists_the_blueprints(server: Server) -> None:
    listed = {key: entry for key, entry in server.get("/global_subgraphs").items() if "keysync" in str(entry["info"])}
    assert {entry["name"] for entry in listed.values()} == set(BLUEPRINTS)
    for key, entry in listed.items():
        held = json.loads(server.get(f"/global_subgraphs/{key}")["data"])
        assert held == json.loads((ROOT / "subgraphs" / f"{entry['name']}.json").read_text(encoding="utf-8"))


def test_the_template_browser_offers_the_workflows(server: Server) -> None:
    offered = server.get("/workflow_templates")["keysync"]
    assert set(offered) == set(WORKFLOWS)
    # ComfyUI keeps the order of the folder; where that is sorted, what needs no download comes first.
    assert sorted(offered)[0] == "1_lip_sync_no_download"
