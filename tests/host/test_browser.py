"""ComfyUI's own frontend opens every example workflow, in a headless Chromium, and runs one to a video on screen.

Pictures of what it shows are kept in out/screenshots; nothing compares them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from keysync.weights.published import PUBLISHED

from .browser import Browser, find_chromium
from .find_comfyui import ROOT, ComfyUI
from .graph import to_api
from .server import Server
from .workflows import WORKFLOWS, make, with_tiny

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


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_frontend_opens_the_workflow_and_makes_its_twin(
    comfyui: ComfyUI, browser: Browser, server: Server, name: str
) -> None:
    workflow = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    show(browser, workflow)
    assert browser.run(UNKNOWN) == []
    made = browser.run("app.graphToPrompt().then(prompt => prompt.output)")
    assert without_helpers(made, server) == to_api(make(name), server.info)
    to_download = {node["id"] for node in workflow["nodes"] if "models" in node["properties"]}
    assert set(browser.run(RED)) <= to_download
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


def test_the_template_browser_offers_the_workflows(server: Server) -> None:
    offered = server.get("/workflow_templates")["keysync"]
    assert set(offered) == set(WORKFLOWS)
    # ComfyUI keeps the order of the folder; where that is sorted, what needs no download comes first.
    assert sorted(offered)[0] == "1_lip_sync_no_download"
