"""Makes the pictures of the workflows: `python -m tests.host.make_pictures [NAME ...]`, most after a run.

They need a Chromium and a ComfyUI. Tiny files of random weights stand for what is downloaded: workflows that need some
are shown before a run, which would show noise.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from ..tiny_models import write_tiny_models
from .browser import Browser, find_chromium
from .conftest import furnish
from .find_comfyui import ROOT, find_comfyuis
from .graph import PADDING, TITLE
from .server import Server
from .test_browser import SETTINGS, open_page, show, upload, use_app
from .workflows import APPS, TINY, WORKFLOWS, wants_files, with_tiny

# Pixels of the page's own bars, left and above, and the widest picture.
LEFT, ABOVE, WIDEST = 90, 130, 2400
LARGEST = 27_000  # bytes: all travel in the package of the registry
WORST = 50  # quality of a JPEG


def main() -> None:
    chromium = find_chromium()
    comfyui = next((comfyui for comfyui in find_comfyuis() if comfyui.python), None)
    if chromium is None or comfyui is None:
        sys.exit("pictures need a Chromium and a ComfyUI: name one in COMFYUI_PATH")
    with tempfile.TemporaryDirectory() as folder:
        base, tiny, profile = (Path(folder) / name for name in ("base", "tiny", "profile"))
        for each in (base, tiny, profile):
            each.mkdir()
        write_tiny_models(tiny)
        furnish(base, tiny)
        server = Server(comfyui, base)
        try:
            server.post("/settings", SETTINGS)
            browser = Browser(chromium, profile)
            open_page(browser, server)
            for name in sys.argv[1:] or WORKFLOWS:
                if name in APPS:
                    save(app_picture(chromium, server, Path(folder)), ROOT / "workflows" / f"{name}.jpg")
                    continue
                workflow = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
                show(browser, with_tiny(workflow))
                if not wants_files(name):
                    run(browser, server)
                name_files(browser)
                save(picture(browser, workflow), ROOT / "workflows" / f"{name}.jpg")
            browser.close()
        finally:
            server.stop()


def app_picture(chromium: str, server: Server, folder: Path) -> Image.Image:
    """The app in App mode, after a run."""
    profile = folder / "app"
    profile.mkdir()
    files = upload(server.base / "input")
    browser = Browser(chromium, profile)
    use_app(browser, server, [file.name for file in files])
    shown = Image.open(BytesIO(browser.screenshot())).convert("RGB")
    browser.close()
    return shown


def run(browser: Browser, server: Server) -> None:
    """Runs what is open, to its end."""
    before = len(server.get("/history"))
    browser.run("app.queuePrompt(0)")
    while len(server.get("/history")) == before:
        time.sleep(1)
    browser.run("new Promise(resolve => setTimeout(resolve, 4000))")  # its videos are loaded


def name_files(browser: Browser) -> None:
    """Shows the names of the files that are downloaded, in place of the tiny ones."""
    names = json.dumps({tiny: name for name, tiny in TINY.items()})
    tiny = f"app.rootGraph.nodes.flatMap(node => node.widgets ?? []).filter(widget => widget.value in {names})"
    browser.run(f"{tiny}.forEach(widget => {{ widget.value = {names}[widget.value] }})")


def picture(browser: Browser, workflow: dict[str, Any]) -> Image.Image:
    """The whole graph, without the page around it."""
    boxes = [(*node["pos"], *node["size"]) for node in workflow["nodes"]]
    boxes += [(x, y + TITLE, w, h - TITLE) for x, y, w, h in (group["bounding"] for group in workflow["groups"])]
    left, top = min(box[0] for box in boxes) - PADDING, min(box[1] for box in boxes) - TITLE - PADDING
    width, height = (
        max(x + w for x, _, w, _ in boxes) + PADDING - left,
        max(y + h for _, y, _, h in boxes) + PADDING - top,
    )
    zoom = min(1.0, WIDEST / width)
    wide, high = round(width * zoom), round(height * zoom)
    size: dict[str, Any] = {
        "width": wide + 2 * LEFT,
        "height": high + 2 * ABOVE,
        "deviceScaleFactor": 1,
        "mobile": False,
    }
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    browser.run("new Promise(resolve => setTimeout(resolve, 1000))")
    place = f"[{LEFT / zoom - left}, {ABOVE / zoom - top}]"
    browser.run(
        f"(() => {{ app.canvas.ds.scale = {zoom}; app.canvas.ds.offset = {place}; app.canvas.setDirty(true, true) }})()"
    )
    browser.run("new Promise(resolve => setTimeout(resolve, 2000))")
    return Image.open(BytesIO(browser.screenshot())).convert("RGB").crop((LEFT, ABOVE, LEFT + wide, ABOVE + high))


def save(image: Image.Image, path: Path) -> None:
    """As a JPEG of the best quality that is small enough; what would look bad is made smaller."""
    while True:
        for quality in range(90, WORST - 1, -5):
            image.save(path, quality=quality, optimize=True)
            if path.stat().st_size <= LARGEST:
                return
        image = image.resize((image.width * 9 // 10, image.height * 9 // 10), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
