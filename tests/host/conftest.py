"""Runs each host test on every ComfyUI that is found, and says at the end how many ran, or how to get a ComfyUI."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from ..tiny_flashlips import write_tiny_flashlips
from ..tiny_keyface import write_tiny_keyface
from ..tiny_models import write_tiny_models
from ..tiny_sam2 import write_tiny_sam2
from ..training.small_chain import make_stages
from .find_comfyui import ComfyUI, find_comfyuis
from .server import Server
from .tiny_core import write_tiny_upscaler

collect_ignore = ["inside"]  # by test_inside.py, in ComfyUI's own Python
RAN, SKIPPED = pytest.StashKey[Counter[str]](), pytest.StashKey[Counter[str]]()  # by the version of ComfyUI
NONE_FOUND = "no ComfyUI found: install one with `comfy install`"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RAN], config.stash[SKIPPED] = Counter(), Counter()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "comfyui" not in metafunc.fixturenames:
        return
    found = [
        pytest.param(comfyui, id=comfyui.version, marks=() if comfyui.python else pytest.mark.skip(_no_python(comfyui)))
        for comfyui in find_comfyuis()
    ]
    nothing = pytest.param(None, id="none", marks=pytest.mark.skip(NONE_FOUND))
    metafunc.parametrize("comfyui", found or [nothing], scope="session")


def _no_python(comfyui: ComfyUI) -> str:
    return f"no Python found that runs the ComfyUI at {comfyui.folder}: set COMFYUI_PYTHON"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Counts a test that is skipped before it begins."""
    try:
        return (yield)
    except pytest.skip.Exception:
        _count(item, SKIPPED)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Counts a test that ran on a ComfyUI, or was skipped on its way."""
    kind = RAN
    try:
        return (yield)
    except pytest.skip.Exception:
        kind = SKIPPED
        raise
    finally:
        _count(item, kind)


def _count(item: pytest.Item, kind: pytest.StashKey[Counter[str]]) -> None:
    """One more for the version of the test's ComfyUI; the tests inside one are counted by test_inside.py."""
    parameters = _parameters(item)
    comfyui = parameters.get("comfyui")
    if isinstance(comfyui, ComfyUI) and "inner" not in parameters:
        item.config.stash[kind][comfyui.version] += 1


def _parameters(item: pytest.Item) -> dict[str, object]:
    return item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One ComfyUI after the other: pytest's own order goes to and fro, and each change starts a server anew."""
    order = {comfyui: place for place, comfyui in enumerate(find_comfyuis(), start=1)}

    def place(item: pytest.Item) -> int:
        comfyui = _parameters(item).get("comfyui")
        return order[comfyui] if isinstance(comfyui, ComfyUI) else 0

    items.sort(key=place)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Generator[None, object, object]:
    """One line, below pytest's own list of what was skipped."""
    try:
        return (yield)
    finally:
        terminalreporter.write_line(f"host tests: {_summary(config)}")


def _summary(config: pytest.Config) -> str:
    ran, skipped = config.stash[RAN], config.stash[SKIPPED]
    if ran or skipped:
        versions = dict.fromkeys((*ran, *skipped))
        return ", ".join(f"on ComfyUI {version} {ran[version]} ran, {skipped[version]} skipped" for version in versions)
    if any(found.python for found in find_comfyuis()):
        return "none of those selected ran"
    return f"none ran, {next((_no_python(found) for found in find_comfyuis()), NONE_FOUND)}"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models as files, written once for all ComfyUIs."""
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_models(folder)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both stages by name as the training package has just made them, as files."""
    return make_stages(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def server(comfyui: ComfyUI, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running ComfyUI with the tiny models and an empty input folder."""
    base = tmp_path_factory.mktemp("comfyui")
    furnish(base, tiny_folder)
    running = Server(comfyui, base)
    yield running
    running.stop()


def furnish(base: Path, tiny_folder: Path) -> None:
    """Puts the tiny models into the folders of a ComfyUI, whose input folder stays empty."""
    for name in ("keyframe.safetensors", "interpolation.safetensors"):
        _copy(tiny_folder / name, base / "models" / "keysync" / name)
    _copy(tiny_folder / "vae", base / "models" / "vae" / "tiny")
    for name in ("hubert", "wavlm"):
        _copy(tiny_folder / name, base / "models" / "audio_encoders" / name)
    with tempfile.TemporaryDirectory() as made:
        keyface = write_tiny_keyface(Path(made))
        for name, tiny in (("keyframe", "keyframe"), ("interpolation", "interpolation"), ("weak", "interpolation_bad")):
            _copy(keyface[name], base / "models" / "keysync" / f"keyface_{tiny}.safetensors")
        for name in ("wav2vec2", "beats"):
            _copy(keyface[name], base / "models" / "audio_encoders" / keyface[name].name)
        flashlips = write_tiny_flashlips(Path(made))
        _copy(flashlips, base / "models" / "keysync" / flashlips.name)
    for folder in ("input", "models/upscale_models", "models/sam2"):
        (base / folder).mkdir(parents=True)
    write_tiny_sam2(base / "models" / "sam2" / "tiny_sam2.safetensors")
    write_tiny_upscaler(base / "models" / "upscale_models" / "tiny_upscaler.safetensors")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
