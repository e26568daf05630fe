"""Prepared data on a disk, in fsspec's memory and on an S3 server: the same bytes, and errors in one line."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from torch.utils.data import DataLoader

from keysync.errors import KeySyncError
from training import verify
from training.data.damaged import DamagedClip
from training.data.dataset import Windows, collate
from training.data.index import DataInfo, EncoderInfo, read_index
from training.data.preparation.shards import write_shards
from training.data.shards import Shards
from training.data.store import Remote, Store, named_place, open_store

from ..places import remote as remote
from ..places import s3_server as s3_server
from ..small_config import small_config
from ..small_data import spoil, write_small_clip

INFO = DataInfo((64, 64), (8, 8), 14, {name: EncoderInfo(4, "none") for name in ("hubert", "wavlm")}, "none", "none")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where tables of remote data are copied to."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "keysync" / "tables"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("clips")
    return [write_small_clip(folder, f"clip{number}", 175 + number, (8, 8), 4, number) for number in range(4)]


@pytest.fixture
def local(clips: list[Any], tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    write_shards(clips, tmp_path / "data", INFO, shard_bytes=1)
    return tmp_path / "data"


def contents(store: Store) -> dict[str, bytes]:
    return {name: store.read(name) for name in sorted(store.sizes())}


def test_the_same_bytes_as_on_disk(remote: str, local: Path, clips: list[Any]) -> None:
    assert write_shards(clips, remote, INFO, shard_bytes=1) == f"{remote}/index.json"
    assert contents(open_store(remote)) == contents(open_store(local))
    assert len(contents(open_store(remote))) == 4 + 2 + 2


def test_additions_are_the_same_too(remote: str, tmp_path: Path, clips: list[Any]) -> None:
    places: list[Path | str] = [tmp_path, remote]
    for place in places:
        write_shards(clips[:2], place, INFO)
        before = contents(open_store(place))
        write_shards(clips, place, INFO, unchanged=[clip.video for clip in clips[:2]])
        assert before.items() - contents(open_store(place)).items() == {
            (name, before[name]) for name in ("index.json", "people.json")
        }
        write_shards(clips[1:], place, INFO)
    assert contents(open_store(remote)) == contents(open_store(tmp_path))


def test_training_gets_the_same(remote: str, local: Path, clips: list[Any], cache: Path) -> None:
    write_shards(clips, remote, INFO, shard_bytes=1)
    config = small_config("keyframe", rgb_weight=1.0)
    there, here = Windows(Shards(remote), config), Windows(Shards(local), config)
    sent = pickle.loads(pickle.dumps(there))
    for number in range(6):
        for other in (there[number], sent[number]):
            for field in fields(other):
                first, second = getattr(here[number], field.name), getattr(other, field.name)
                alike = torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second
                assert alike, field.name
    assert len(list(cache.iterdir())) == 2
    assert Shards(remote).digest == Shards(local).digest


def test_data_loading_processes_connect_anew(s3_server: str, remote: str, local: Path, clips: list[Any]) -> None:
    write_shards(clips, remote, INFO)
    windows = Windows(Shards(remote), small_config("keyframe"))
    expected = [windows[number].latents for number in range(4)]
    loader = DataLoader(windows, batch_sampler=[[0, 1], [2, 3]], num_workers=2, collate_fn=collate)
    assert torch.equal(torch.cat([batch.latents for batch in loader]), torch.stack(expected))


def test_damage_is_named(remote: str, clips: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(clips, remote, INFO)
    store = open_store(remote)
    assert verify.main([remote]) == 0
    shards = Shards(remote)
    clip = shards.clips("train")[0]
    content = bytearray(store.read(clip.shard))
    for part in ("latents.npy", "mp4"):
        content[sum(clip.members[part]) - 1] ^= 1
    with store.write(clip.shard) as file:
        file.write_bytes(content)
    reads: list[Callable[[], Any]] = [
        lambda: shards.array(clip, "latents.npy", (clip.frames, 2, 4, 8, 8)),
        lambda: shards.picture(clip, 3),
    ]
    for read in reads:
        with pytest.raises(
            KeySyncError, match=rf"{remote}/{clip.shard}: {clip.key}.\S+ is damaged, its checksum differs"
        ):
            read()
    assert verify.main([remote]) == 1
    assert f"verify: {clip.shard}: {clip.key}.latents.npy is damaged" in capsys.readouterr().err
    store.remove(clip.shard)
    store.remove(clip.shard)  # twice is no error
    with pytest.raises(KeySyncError, match=rf"cannot read {remote}/{clip.shard} \(No such file or directory\): copy"):
        Shards(remote)


def test_numbers_that_are_not_finite(
    remote: str, local: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clip with them is left out, as on a disk; a place that cannot be reached ends the reading, and no clip is
    blamed."""
    clip = spoil(local, 0)
    store = open_store(remote)
    for name, content in contents(open_store(local)).items():
        with store.write(name) as file:
            file.write_bytes(content)
    shards = Shards(remote)
    for _ in range(2):
        with pytest.raises(DamagedClip, match=rf"{remote}/{clip.shard}: {clip.key}.latents.npy has numbers that are"):
            shards.array(clip, "latents.npy", (clip.frames, 2, 4, 8, 8))
    there, here = (Windows(Shards(place), small_config("keyframe")) for place in (remote, local))
    for number in range(6):
        assert torch.equal(there[number].latents, here[number].latents)
        assert [lost.key for lost in there[number].lost] == [lost.key for lost in here[number].lost]
    assert {lost.key for number in range(6) for lost in there[number].lost} == {clip.key}
    assert verify.main([remote]) == 1
    assert f"{clip.key}.latents.npy has numbers that are not finite, or is no array" in capsys.readouterr().err

    def lost(*_: object) -> bytes:
        raise OSError("the connection is lost")

    monkeypatch.setattr(Remote, "read", lost)
    with pytest.raises(KeySyncError, match=r"\(the connection is lost\): check the access to it") as caught:
        there[0]
    assert not isinstance(caught.value, DamagedClip)


def test_a_damaged_table(remote: str, clips: list[Any]) -> None:
    write_shards(clips, remote, INFO)
    store = open_store(remote)
    name = next(name for name in store.sizes() if name.endswith(".safetensors"))
    content = store.read(name)
    with store.write(name) as file:
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(KeySyncError, match=rf"{remote}/{name} is damaged: copy or prepare the data again"):
        read_index(store)


def test_no_data(remote: str) -> None:
    with pytest.raises(KeySyncError, match=rf"{remote} has no prepared data \(index.json: No such file or directory\)"):
        Shards(remote)
    assert open_store(remote).sizes() == {}


def test_a_failed_write_leaves_what_was_there(remote: str, tmp_path: Path) -> None:
    for place in (remote, tmp_path):
        store = open_store(place)
        with store.write("a.txt") as file:
            file.write_text("first")
        with pytest.raises(UnicodeEncodeError), store.write("a.txt") as file:
            file.write_text("second \udc80", encoding="utf-8")
        assert store.read("a.txt") == b"first"
        assert store.read("a.txt", 1, 3) == b"irs"
        assert store.sizes() == {"a.txt": 5}
        store.fetch("a.txt", tmp_path / "fetched")
        assert (tmp_path / "fetched").read_text() == "first"
        (tmp_path / "fetched").unlink()


def test_urls_that_nothing_opens() -> None:
    with pytest.raises(KeySyncError, match=r"cannot open nonsense://data \(Protocol not known: nonsense\): check"):
        open_store("nonsense://data")


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise RuntimeError("no route to host\nand more")

    monkeypatch.setattr(fsspec.filesystem("memory").__class__, "cat_file", refuse)
    with pytest.raises(KeySyncError, match=r"memory://data has no prepared data \(index.json: no route to host\)"):
        read_index(open_store("memory://data"))


def test_places_on_a_command_line() -> None:
    assert named_place("s3://bucket/data/") == "s3://bucket/data"
    assert named_place("data/folder") == Path("data/folder")
