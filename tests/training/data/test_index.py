"""The index of prepared data: what is written is read again, and what makes no sense is refused by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from keysync.errors import KeySyncError
from training.data.index import DataInfo, EncoderInfo, Index, Listed, content_of, read_index, to_json
from training.data.store import Folder
from training.data.table import Clip, Clips, Table

from ..older_data import older_json

INFO = DataInfo(
    (512, 384), (64, 48), 14, {"hubert": EncoderInfo(768, "models/hubert")}, "models/vae", "mediapipe", 1.4, 13
)
CRC = {"mp4": 0, "latents.npy": 2**32 - 1}
SIZES = {"train-000000.tar": 5000, "train-000001.tar": 700, "validation-000000.tar": 900}
CLIPS = {
    "train": [
        Clip("train-000000.tar", "a", 20, {"mp4": (512, 1000), "latents.npy": (2048, 2952)}, CRC),
        Clip("train-000000.tar", "b", 30, {}),
        Clip("train-000001.tar", "c", 500, {"json": (0, 700)}),
    ],
    "validation": [Clip("validation-000000.tar", "d", 14, {"flac": (1, 0)})],
}
TABLES = {split: Table.of(clips, SIZES) for split, clips in CLIPS.items()}
INDEX = Index(
    INFO,
    {split: Clips([table]) for split, table in TABLES.items()},
    {split: (content_of(table),) for split, table in TABLES.items()},
)
OLDER = older_json(INDEX)


def write(folder: Path, text: str | bytes) -> Folder:
    (folder / "index.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return Folder(folder)


def write_newer(folder: Path) -> Folder:
    """The index and its tables."""
    listed = {}
    for split, table in TABLES.items():
        path = folder / f"{split}-000000.safetensors"
        table.save(path)
        listed[split] = (Listed.of(path.name, path, table),)
    return write(folder, to_json(INFO, listed))


def check_same(found: Index) -> None:
    assert found.info == INFO
    assert {split: list(clips) for split, clips in found.splits.items()} == CLIPS
    assert found.sizes == SIZES
    assert found.digest == INDEX.digest


def test_read_again(tmp_path: Path) -> None:
    check_same(read_index(write_newer(tmp_path)))


def test_older_data(tmp_path: Path) -> None:
    check_same(read_index(write(tmp_path, OLDER)))


def test_the_format_on_disk(tmp_path: Path) -> None:
    """Other programs read it too."""
    write_newer(tmp_path)
    content = json.loads((tmp_path / "index.json").read_text())
    splits = content.pop("splits")
    assert content == {
        "format": 2,
        "fps": 25,
        "resolution": [512, 384],
        "latent_size": [64, 48],
        "window": 14,
        "encoders": {"hubert": {"channels": 768, "origin": "models/hubert"}},
        "vae": {"origin": "models/vae"},
        "detector": "mediapipe",
        "crop_scale": 1.4,
        "spacing": 13,
    }
    (listed,) = splits["train"]
    assert {key: listed[key] for key in ("table", "clips")} == {"table": "train-000000.safetensors", "clips": 3}
    columns = load_file(tmp_path / "train-000000.safetensors")
    assert columns["frames"].tolist() == [20, 30, 500]
    assert columns["keys"].tobytes() == b"abc"


def test_checksums_are_no_part_of_the_digest(tmp_path: Path) -> None:
    assert read_index(write(tmp_path, older_json(INDEX, checksums=False))).digest == INDEX.digest
    assert read_index(write(tmp_path, OLDER.replace('"frames": 30', '"frames": 31'))).digest != INDEX.digest


def test_older_data_has_the_published_crops_of_every_frame(tmp_path: Path) -> None:
    content = json.loads(OLDER)
    del content["crop_scale"], content["spacing"]
    info = read_index(write(tmp_path, json.dumps(content))).info
    assert (info.crop_scale, info.spacing) == (2.0, 1)


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match=r"has no prepared data .* python -m training.prepare"):
        read_index(Folder(tmp_path))
    with pytest.raises(KeySyncError, match="has no prepared data"):
        read_index(Folder(tmp_path / "nowhere"))


GARBAGE: dict[str, str | bytes] = {
    "empty": "",
    "cut off": OLDER[:200],
    "a list": "[]",
    "a number": "3",
    "null": "null",
    "a string": '"text"',
    "no text": b"\xff\xfe\x00",
    "no format": "{}",
    "nothing but the format": '{"format": 1}',
    "endless": "[" * 100_000,
    "a number of thousands of digits": OLDER.replace("1.4", "9" * 5000),
    "a number beyond every float": OLDER.replace("1.4", "1e999"),
    "not a number": OLDER.replace("1.4", "NaN"),
    "a key twice": OLDER.replace('"fps": 25', '"fps": 25, "fps": 25'),
    "a long text": OLDER.replace("512", json.dumps("a\n" * 100_000)),
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE)
def test_garbage(text: str | bytes, tmp_path: Path) -> None:
    with pytest.raises(
        KeySyncError, match=r"index.json is not an index of prepared data \(.+\): prepare the data again"
    ):
        read_index(write(tmp_path, text))


def test_a_reason_is_a_short_line(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError) as caught:
        read_index(write(tmp_path, GARBAGE["a long text"]))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_another_format(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match=r"index.json has format 3: expected 2"):
        read_index(write(tmp_path, OLDER.replace('"format": 1', '"format": 3')))


def _shard(content: Any) -> Any:
    return content["splits"]["train"][0]


DAMAGE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "another frame rate": (lambda c: c.update(fps=30), "30 frames a second, expected 25"),
    "a size of one number": (lambda c: c.update(resolution=[512]), "not enough values"),
    "a size that is no number": (lambda c: c.update(latent_size=["64", 64]), "'64' is not an integer"),
    "no window": (lambda c: c.pop("window"), "'window' is missing"),
    "no validation": (lambda c: c["splits"].pop("validation"), "'validation' is missing"),
    "a shard elsewhere": (
        lambda c: _shard(c).update(shard="../secret.tar"),
        r"'\.\./secret.tar' is not the name of a shard",
    ),
    "a shard of no name": (lambda c: _shard(c).update(shard=7), "expected string"),
    "a clip outside": (lambda c: _shard(c).update(bytes=4000), "clip 'a' is outside its shard train-000000.tar"),
    "a negative place": (
        lambda c: _shard(c)["samples"][0]["members"].update(mp4=[-1, 5]),
        "-1 is not an integer of at least 0",
    ),
    "a clip of no frames": (lambda c: _shard(c)["samples"][0].update(frames=0), "0 is not an integer of at least 1"),
    "a checksum that is no number": (
        lambda c: _shard(c)["samples"][0]["crc32"].update(mp4="0"),
        "'0' is not an integer of at least 0",
    ),
    "a part without its checksum": (
        lambda c: _shard(c)["samples"][0]["crc32"].pop("mp4"),
        "the checksums of clip 'a' are not those of its parts",
    ),
    "true for a number": (lambda c: _shard(c)["samples"][0].update(frames=True), "True is not an integer"),
    "an encoder without width": (lambda c: c["encoders"].update(wavlm={}), "'channels' is missing"),
    "a list of encoders": (lambda c: c.update(encoders=["hubert"]), "items"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_what_makes_no_sense(damage: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    content = json.loads(OLDER)
    damage(content)
    with pytest.raises(KeySyncError, match=rf"index.json is not an index of prepared data \(.*{message}"):
        read_index(write(tmp_path, json.dumps(content)))


NEWER_DAMAGE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a table elsewhere": (lambda t: t.update(table="../secret.safetensors"), "is not the name of a table of clips"),
    "a digest that leads elsewhere": (lambda t: t.update(digest="../secret"), r"'\.\./secret' is not a digest"),
    "a table of nothing": (lambda t: t.update(bytes=0), "0 is not an integer of at least 1"),
}


@pytest.mark.parametrize(("damage", "message"), NEWER_DAMAGE.values(), ids=NEWER_DAMAGE)
def test_lists_of_tables_that_make_no_sense(damage: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    store = write_newer(tmp_path)
    content = json.loads((tmp_path / "index.json").read_text())
    damage(content["splits"]["train"][0])
    with pytest.raises(KeySyncError, match=rf"index.json is not an index of prepared data \(.*{message}"):
        read_index(write(store.place, json.dumps(content)))


def test_tables_that_are_missing_cut_off_or_exchanged(tmp_path: Path) -> None:
    store = write_newer(tmp_path)
    path = tmp_path / "train-000000.safetensors"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(KeySyncError, match=rf"train-000000.safetensors has {size - 1} bytes, expected {size}: copy"):
        read_index(store)
    path.write_bytes(bytes(size))
    with pytest.raises(KeySyncError, match=r"train-000000.safetensors is not a table of clips \(.+\): prepare"):
        read_index(store)
    path.unlink()
    with pytest.raises(KeySyncError, match=r"cannot read .*train-000000.safetensors \(No such file or directory\)"):
        read_index(store)
