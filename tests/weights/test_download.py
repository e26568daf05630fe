"""`keysync download` fetches the published weights from a hub: whole and checked, or not at all; no test leaves this
machine."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest

from keysync.cli import main
from keysync.weights import download
from keysync.weights.published import HUB, KEYFACE, PUBLISHED, SETS, PublishedFile, in_words

from ..conftest import ROOT
from ..hub import Hub, running

CONTENT = {file.name: file.name.encode() * 20_000 for file in (*PUBLISHED, *KEYFACE)}


def address(file: PublishedFile) -> str:
    return unquote(urlsplit(file.url).path)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, PublishedFile]:
    """The published files with small contents, whose SHA-256 is known where that of the published one is."""
    files: dict[str, PublishedFile] = {}
    for name, chosen in SETS.items():
        small = tuple(shrunk(file) for file in chosen.files)
        monkeypatch.setitem(SETS, name, replace(chosen, files=small))
        files |= {file.name: file for file in small}
    return files


def shrunk(file: PublishedFile) -> PublishedFile:
    content = CONTENT[file.name]
    return replace(file, size=len(content), sha256=hashlib.sha256(content).hexdigest() if file.sha256 else None)


@pytest.fixture
def hub(files: dict[str, PublishedFile], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that holds them."""
    monkeypatch.setattr("time.sleep", lambda _: None)  # between a transfer that breaks off and the next try
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)  # what is lost of one at most
    with running(Hub({address(file): CONTENT[file.name] for file in files.values()})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield hub
        huggingface_hub.close_session()


@pytest.fixture
def fetch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command into the folder `models`; returns its exit code, its output and its errors without the bars."""

    def run(name: str = "published") -> tuple[int, str, str]:
        code = main(["download", name, "--to", str(tmp_path / "models"), "--yes"])
        said = capsys.readouterr()
        return code, said.out, said.err.replace("\r", "\n")

    return run


def held(folder: Path) -> dict[str, bytes]:
    """What lies below a folder, by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def whole(files: Iterable[PublishedFile] = PUBLISHED) -> dict[str, bytes]:
    return {f"{file.directory}/{file.name}": CONTENT[file.name] for file in files}


Fetch = Callable[..., tuple[int, str, str]]


def test_all_files_land_where_comfyui_and_the_command_line_find_them(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    code, out, _ = fetch()
    assert code == 0
    assert held(tmp_path / "models") == whole()
    for file in PUBLISHED:
        for said in (file.licence, file.repository, file.path, in_words(len(CONTENT[file.name]))):
            assert said in out
    assert out.count("SHA-256: unknown") == 4
    assert out.count("downloaded, SHA-256 as published") == 5
    line = out.splitlines()[-1]
    assert f"--keyframe-model {tmp_path}/models/keysync/keyframe_dub.pt --interpolation-model " in line
    assert f"--vae {tmp_path}/models/vae/svd_vae.safetensors --hubert " in line
    assert " --wavlm " in line


def test_the_files_of_keyface_land_where_its_command_and_its_nodes_find_them(
    hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    code, out, _ = fetch("keyface")
    assert code == 0
    assert held(tmp_path / "models") == whole(KEYFACE)
    assert out.count("downloaded, SHA-256 as published") == 6
    *_, by_hand, line = out.splitlines()
    assert "get BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt from https://github.com/microsoft/" in by_hand
    command, given = line.split(" -o OUT ")
    assert command == "keysync: to use them: keysync animate PICTURE AUDIO"
    flags, places = given.split()[::2], given.split()[1::2]
    assert flags == [
        *("--keyframe-model", "--interpolation-model", "--weak-model", "--vae", "--wavlm", "--wav2vec2", "--beats")
    ]
    assert [Path(place).name for place in places] == [*(file.name for file in KEYFACE), "BEATS"]


def test_what_both_systems_use_is_downloaded_once(hub: Hub, fetch: Fetch) -> None:
    fetch()
    code, out, _ = fetch("keyface")
    assert (code, out.count("already there"), out.count("downloaded,")) == (0, 2, 4)


def test_what_is_there_is_not_downloaded_again(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    fetch()
    before = len(hub.transfers())
    code, out, _ = fetch()
    assert (code, out.count("already there, SHA-256 as published")) == (0, 5)
    assert len(hub.transfers()) == before
    assert held(tmp_path / "models") == whole()


def test_another_file_of_that_name_is_kept(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    mine = tmp_path / "models" / "keysync" / "keyframe_dub.pt"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"x" * len(CONTENT[mine.name]))  # as long as the published one
    code, _, errors = fetch()
    assert code == 1
    assert re.fullmatch(r"keysync: error: .*keyframe_dub.pt exists and is not the published .* \(--to\)\n", errors)
    assert mine.read_bytes() == b"x" * len(CONTENT[mine.name])


def test_a_transfer_that_breaks_off_goes_on(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    hub.cut = [100_000, 50_000]
    assert fetch()[0] == 0
    assert hub.transfers()[:3] == [None, "bytes=100000-", "bytes=150000-"]
    assert held(tmp_path / "models") == whole()


def test_the_next_run_continues_and_takes_no_part_for_the_whole(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    hub.cut = [70_000, *[0] * 20]  # more often than is tried again
    code, _, errors = fetch()
    assert code == 1
    last = [line for line in errors.splitlines() if line.strip()][-1]
    assert last.startswith("keysync: error: keyframe_dub.pt cannot be downloaded from http://127.0.0.1:")
    assert last.endswith(": check the connection and run the command again; it continues where it stopped")
    (part,) = held(tmp_path / "models")
    assert re.fullmatch(r"keysync/\.keyframe_dub\.pt\.[0-9a-f]{16}\.part", part)
    assert len(held(tmp_path / "models")[part]) == 70_000
    hub.cut.clear()
    hub.asked.clear()
    assert fetch()[0] == 0
    assert hub.transfers()[0] == "bytes=70000-"
    assert held(tmp_path / "models") == whole()


def test_a_hub_that_gives_no_parts_gives_the_whole(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    hub.ranges = False
    hub.cut = [100_000]
    assert fetch()[0] == 0
    assert held(tmp_path / "models") == whole()


def test_a_part_that_is_too_long_is_begun_again(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    content = CONTENT["keyframe_dub.pt"]
    folder = tmp_path / "models" / "keysync"
    folder.mkdir(parents=True)
    (folder / f".keyframe_dub.pt.{hub.etag(content)[:16]}.part").write_bytes(content + b"more")
    assert fetch()[0] == 0
    assert held(tmp_path / "models") == whole()


def test_a_damaged_part_is_no_file(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    content = CONTENT["keyframe_dub.pt"]
    folder = tmp_path / "models" / "keysync"
    folder.mkdir(parents=True)
    (folder / f".keyframe_dub.pt.{hub.etag(content)[:16]}.part").write_bytes(b"?" * 1000)
    code, _, errors = fetch()
    assert code == 1
    assert re.search(r"^keysync: error: keyframe_dub.pt arrived damaged \(SHA-256 .*: download it again$", errors, re.M)
    assert held(tmp_path / "models") == {}
    assert fetch()[0] == 0
    assert held(tmp_path / "models") == whole()


def test_without_a_checksum_none_is_claimed(
    hub: Hub, files: dict[str, PublishedFile], fetch: Fetch, tmp_path: Path
) -> None:
    hub.sums = False
    code, out, _ = fetch()
    assert code == 0
    assert out.count("downloaded, SHA-256 as published") == 1  # the VAE's is in the table
    for name in (file.name for file in PUBLISHED if file.sha256 is None):
        assert f"{name}: downloaded, SHA-256 {hashlib.sha256(CONTENT[name]).hexdigest()}, not compared" in out
    assert fetch()[1].count("already there, size as published") == 4


def test_a_file_that_has_changed_on_the_hub_is_refused(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    vae = next(file for file in PUBLISHED if file.sha256)
    hub.files[address(vae)] = b"other"
    code, _, errors = fetch()
    assert code == 1
    assert "offers another svd_vae.safetensors than the published one" in errors
    assert "vae/svd_vae.safetensors" not in held(tmp_path / "models")


def test_a_file_that_the_hub_lacks(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    del hub.files[address(PUBLISHED[0])]
    code, _, errors = fetch()
    assert (code, errors.count("\n")) == (1, 1)
    assert f"{hub.url}/toninio19/keysync does not hold checkpoints/keyframe_dub.pt (revision main): see" in errors
    assert held(tmp_path / "models") == {}


def test_a_licence_to_accept(hub: Hub, fetch: Fetch) -> None:
    hub.gated = {"stabilityai/stable-video-diffusion-img2vid"}
    code, _, errors = fetch()
    assert code == 1
    assert re.search(
        r"^keysync: error: svd_vae.safetensors is given only to those who accept its licence: .*HF_TOKEN", errors, re.M
    )


def test_no_hub(fetch: Fetch, files: dict[str, PublishedFile], monkeypatch: pytest.MonkeyPatch) -> None:
    with running(Hub()) as hub:
        gone = hub.url
    monkeypatch.setenv("HF_ENDPOINT", gone)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    code, _, errors = fetch()
    huggingface_hub.close_session()
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.startswith(f"keysync: error: keyframe_dub.pt cannot be downloaded from {gone}/toninio19/keysync: ")


def test_two_downloads_of_one_file(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    content = CONTENT["keyframe_dub.pt"]
    folder = tmp_path / "models" / "keysync"
    folder.mkdir(parents=True)
    with (folder / f".keyframe_dub.pt.{hub.etag(content)[:16]}.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        code, _, errors = fetch()
    assert (code, errors.count("\n")) == (1, 1)
    assert "keyframe_dub.pt is being downloaded by another process: wait until it has finished" in errors
    assert hub.transfers() == []


def test_a_full_disk_is_noticed_before(hub: Hub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    code, _, errors = fetch()
    assert (code, errors.count("\n")) == (1, 1)
    assert "keyframe_dub.pt needs 0 MB and the disk of" in errors
    assert errors.endswith("free some space or choose another folder (--to)\n")
    assert hub.transfers() == []


def test_a_folder_that_cannot_be_made(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    code, _, errors = fetch()
    assert (code, errors.count("\n")) == (1, 1)
    assert "keyframe_dub.pt cannot be written: " in errors
    assert errors.endswith("(--to)\n")


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("YES", 0), ("n", 1), ("", 1)])
def test_it_asks_first(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    code: int,
) -> None:
    person = io.StringIO(f"{answer}\n")
    monkeypatch.setattr(person, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", person)
    assert main(["download", "published", "--to", str(tmp_path / "models")]) == code
    listing, _, rest = capsys.readouterr().out.partition(f"Download 2 MB from {hub.url}, by the licences above? [y/N] ")
    assert all(file.licence in listing for file in PUBLISHED)
    assert bool(rest) == (code == 0)
    if code:
        assert hub.asked == []
        assert not (tmp_path / "models").exists()


def test_without_a_terminal_it_does_not_start(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["download", "published", "--to", str(tmp_path / "models")]) == 1
    errors = capsys.readouterr().err
    assert errors.endswith("nothing is downloaded without consent, and there is no terminal to ask at (--yes)\n")
    assert hub.asked == []


def test_without_huggingface_hub(hub: Hub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("huggingface_hub", "huggingface_hub.file_download"):
        monkeypatch.setitem(sys.modules, name, None)
    code, _, errors = fetch()
    assert (code, errors.count("\n")) == (1, 1)
    assert "downloads need huggingface_hub 1.31 or newer, which is not installed: " in errors
    assert errors.endswith(' -m pip install "huggingface_hub>=1.31,<3"\n')
    assert not (tmp_path / "models").exists()


def test_the_folder_is_that_of_the_comfyui_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert download.models_folder() == Path("models")
    inside = tmp_path / "ComfyUI" / "custom_nodes" / "keysync" / "keysync" / "weights" / "download.py"
    monkeypatch.setattr(download, "__file__", str(inside))
    assert download.models_folder() == Path("models")
    (tmp_path / "ComfyUI").mkdir()
    (tmp_path / "ComfyUI" / "folder_paths.py").touch()
    assert download.models_folder() == tmp_path / "ComfyUI" / "models"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signals to one process")
def test_ctrl_c_keeps_the_part_and_says_so(files: dict[str, PublishedFile], tmp_path: Path) -> None:
    content = bytes(50_000_000)
    with running(Hub({address(PUBLISHED[0]): content})) as hub:
        hub.cut = [20_000_000, *[0] * 20]  # then it is tried again for seconds
        line = [sys.executable, "-m", "keysync", "download", "published", "--to", str(tmp_path), "--yes"]
        environment = os.environ | {"HF_ENDPOINT": hub.url, "NO_PROXY": "127.0.0.1,localhost"}
        with subprocess.Popen(
            line,
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background ignores it
        ) as process:
            while len(hub.transfers()) < 2:
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert (
            errors.replace("\r", "\n").splitlines()[-1] == "keysync: stopped; the same command continues the download"
        )
        (part,) = (tmp_path / "keysync").iterdir()
        assert part.name.endswith(".part")
        assert 0 < part.stat().st_size <= 20_000_000


def test_the_table_names_files_that_comfyui_downloads_with_one_click() -> None:
    assert [file.input for file in PUBLISHED] == ["keyframe", "interpolation", "vae", "hubert", "wavlm"]
    for file in (*PUBLISHED, *KEYFACE):
        assert file.url.startswith(f"{HUB}/")
        assert file.name.endswith((".safetensors", ".sft", ".ckpt", ".pth", ".pt"))
        assert file.sha256 is None or download.SHA256.fullmatch(file.sha256)
    assert len({(file.directory, file.name) for file in PUBLISHED}) == len(PUBLISHED)
    # A file of one name is the same for both.
    files = {file.name: (file.url, file.directory) for file in PUBLISHED}
    assert all(files.get(file.name, (file.url, file.directory)) == (file.url, file.directory) for file in KEYFACE)
