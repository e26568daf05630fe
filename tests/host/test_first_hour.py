"""An artist's first minutes: the package copied into a ComfyUI that has nothing else, searched, opened, run, seen.

With the mouse and the keyboard alone, and no file in the input folder.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .browser import Browser, find_chromium
from .find_comfyui import ROOT, ComfyUI
from .server import Server
from .test_browser import PICTURES, RED, VIDEO
from .test_package import HELD

TEMPLATE = "1_lip_sync_no_download"
WINDOW = (1920, 1080)  # pixels
MOST_CLICKS = 5
SAVE_NODES = "app.rootGraph.nodes.filter(node => node.type == 'SaveVideo')"
# The frontend whose buttons are pressed here; others name and place them differently.
VERSION = "0.33.0"


class Artist:
    """Looks, clicks and types; counts the clicks."""

    def __init__(self, browser: Browser) -> None:
        self.browser, self.clicks = browser, 0

    def see(self, text: str, seconds: float = 60) -> None:
        self.browser.find(text, seconds)

    def click(self, text: str) -> None:
        self.pause()  # until what moves has come to rest
        self._press(*self.browser.find(text))

    def double_click(self, x: float, y: float) -> None:
        """One click in the count, as it is one gesture."""
        self._press(x, y, 2)

    def _press(self, x: float, y: float, times: int = 1) -> None:
        self.browser.click(x, y, times)
        self.clicks += 1
        self.pause()

    def pause(self) -> None:
        self.browser.run("new Promise(resolve => setTimeout(resolve, 1000))")


@pytest.fixture
def fresh(comfyui: ComfyUI, tmp_path: Path) -> Iterator[Server]:
    """A ComfyUI of empty folders, and a copy of what the package holds."""
    if comfyui.version != VERSION:
        pytest.skip(f"the buttons are those of ComfyUI {VERSION}")
    listed = subprocess.run(["git", "ls-files", "-z", *HELD], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0")[:-1]:
        target = tmp_path / "pack" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    base = tmp_path / "base"
    base.mkdir()
    running = Server(comfyui, base, tmp_path / "pack")
    yield running
    running.stop()


@pytest.fixture
def artist(fresh: Server, tmp_path: Path) -> Iterator[Artist]:
    """Sits before the page that a new user of ComfyUI sees."""
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium found: on Debian, apt install chromium")
    opened = Browser(chromium, tmp_path / "chromium")
    opened.call(
        "Emulation.setDeviceMetricsOverride", width=WINDOW[0], height=WINDOW[1], deviceScaleFactor=1, mobile=False
    )
    opened.open(fresh.url)
    yield Artist(opened)
    opened.close()


def test_from_nothing_to_a_dubbed_video_in_a_few_clicks(comfyui: ComfyUI, fresh: Server, artist: Artist) -> None:
    browser, pictures = artist.browser, PICTURES / comfyui.version
    artist.see("All Templates", 120)  # what ComfyUI opens on its first start
    artist.pause()
    browser.escape()
    artist.pause()
    artist.double_click(WINDOW[0] / 2, WINDOW[1] / 2)
    browser.write("lip sync")
    artist.see("Lip Sync (KeySync)")  # the first one found is shown beside the list
    artist.pause()
    browser.picture(pictures / "first_hour_search.png")
    browser.escape()
    artist.click("Templates")
    artist.click("keysync")
    artist.click(TEMPLATE)
    browser.wait("app.rootGraph.nodes.some(node => node.type == 'KeySyncLipSync')")
    artist.pause()
    browser.picture(pictures / "first_hour_opened.png")
    assert browser.run(RED) == []
    artist.click("Run")
    browser.wait(VIDEO, 300)
    browser.wait(f"{SAVE_NODES}.every(node => app.nodeOutputs[node.id])", 60)
    artist.pause()
    browser.picture(pictures / "first_hour_result.png")
    assert browser.run(RED) == []
    saved = sorted(path.name for path in (fresh.base / "output" / "keysync").iterdir())
    assert [name.rpartition("_0")[0] for name in saved] == ["lip_sync", "lip_sync_before_and_after"]
    assert not [path for path in (fresh.base / "input").rglob("*") if path.is_file()]
    print(f"{artist.clicks} clicks from nothing to a dubbed video")
    assert artist.clicks <= MOST_CLICKS
