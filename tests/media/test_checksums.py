"""FFV1's checksums are compared."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from keysync.media.checksums import is_intact
from keysync.media.reader import VideoReader

from .recordings import record

CHECKED = {"level": "3", "slicecrc": "1"}


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("slices", ["4", "12"])
def test_every_changed_byte_is_seen(slices: str, tmp_path: Path) -> None:
    path = record(tmp_path / "a.mkv", codec="ffv1", options=CHECKED | {"slices": slices})
    packet = packets(path)[0]
    assert is_intact(packet)
    for place in range(0, len(packet), 7):
        assert not is_intact(packet[:place] + bytes((packet[place] ^ 1,)) + packet[place + 1 :]), place
    assert not is_intact(packet[:-1])
    assert not is_intact(b"")


def test_a_file_without_checksums_is_not_damaged(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mkv", codec="ffv1", options={"level": "3", "slicecrc": "0"})
    assert not any(map(is_intact, packets(path)))
    assert VideoReader(path).facts().damaged == 0


@pytest.mark.parametrize("number", [0, 3])
def test_one_damaged_packet_is_counted_wherever_it_is(number: int, tmp_path: Path) -> None:
    path = record(tmp_path / "a.mkv", codec="ffv1", options=CHECKED)
    packet, data = packets(path)[number], bytearray(path.read_bytes())
    data[data.index(packet) + len(packet) // 2] ^= 1
    path.write_bytes(data)
    assert VideoReader(path).facts().damaged == 1
