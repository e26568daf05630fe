"""Small files that ask for too much: each is one line in less than a second, before anything is built or allocated."""

from __future__ import annotations

import importlib
import io
import json
import pickle
import re
import resource
import struct
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.face.sam2_weights import load_sam2
from keysync.speech.encoders import load_encoder
from keysync.vae.vae import load_vae
from keysync.weights.checkpoint import load_stage, open_stage
from keysync.weights.describe import describe
from keysync.weights.files import MOST_TENSORS, read_tensors

UNET = "model.diffusion_model."
MEMORY = 2**30  # bytes that a test may take beyond what the process has


@pytest.fixture(autouse=True, scope="module")
def transformers() -> None:
    """Imported before the clock runs, as in a program that has read a first file."""
    for name in ("sam2_video.modeling_sam2_video", "hubert.modeling_hubert", "whisper.modeling_whisper"):
        importlib.import_module(f"transformers.models.{name}")


@contextmanager
def _bounded() -> Iterator[None]:
    """A second, and a gigabyte."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    before = resource.getrlimit(resource.RLIMIT_AS)
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    began = time.process_time()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert time.process_time() - began < 1


def error_of(call: Callable[..., object], *arguments: object) -> str:
    with _bounded(), pytest.raises(KeySyncError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1000
    return message


def safetensors(path: Path, header: dict[str, Any] | str, data: bytes = b"") -> Path:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def empty(*shape: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}


# --- safetensors


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{UNET}input_blocks.999999999.0.op.weight", "has a number above 999"),
        (f"{UNET}input_blocks.1.1.transformer_blocks.99999999.attn2.to_k.weight", "has a number above 999"),
        (f"{UNET}input_blocks.{'9' * 200}.0.op.weight", "has a number above 999"),
        (f"{UNET}input_blocks.{'9' * 5000}.0.op.weight", "is not printable text of at most 300 characters"),
        ("encoder.conv_in.weight\nkeysync: done", "is not printable text of at most 300 characters"),
        ("decoder.up_blocks.123456789.resnets.0.temporal_res_block.conv1.weight", "has a number above 999"),
        ("encoder.layers.999999999.attention.k_proj.weight", "has a number above 999"),
    ],
)
@pytest.mark.parametrize("load", [load_stage, load_vae, load_sam2, describe, read_tensors])
def test_names_of_tensors(name: str, message: str, load: Callable[..., Any], tmp_path: Path) -> None:
    header = {name: empty(0), f"{UNET}input_blocks.0.0.weight": empty(64, 8, 3, 0)}
    assert message in error_of(load, safetensors(tmp_path / "file.safetensors", header))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({f"{UNET}input_blocks.900.0.in_layers.0.weight": empty(0)}, "of 900 residual blocks per level: expected at m"),
        ({f"{UNET}input_blocks.{n}.0.op.weight": empty(0) for n in range(1, 40)}, "of 40 levels: expected at most 8"),
        ({f"{UNET}middle_block.1.transformer_blocks.900.x": empty(0)}, "of 901 transformer blocks in a row: expected"),
        (
            {
                **{f"{UNET}input_blocks.{2 * n}.0.op.weight": empty(0) for n in range(1, 8)},
                **{f"{UNET}input_blocks.{2 * n + 1}.1.transformer_blocks.15.x": empty(0) for n in range(8)},
            },
            "of 384 transformer blocks but only 17 tensors: expected a complete stage",
        ),
        (
            {f"{UNET}input_blocks.0.0.weight": empty(32 * 10**9, 8, 3, 0)},
            "of 32000000000 channels: expected 1 to 163",
        ),
        ({f"{UNET}input_blocks.0.0.weight": empty(0, 8, 3, 3)}, "is 0 channels wide"),
        ({f"{UNET}output_blocks.1.1.attn2.to_k.weight": empty(0, 10**12)}, "of 1000000000000 channels: expected 1"),
        ({"conditioner.embedders.2.linear.weight": empty(0, 10**12)}, "of 1000000000000 channels: expected 1 to"),
    ],
)
def test_sizes_of_a_stage(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    header = {f"{UNET}input_blocks.0.0.weight": empty(64, 8, 3, 0), "conditioner.embedders.2.linear.bias": empty(0)}
    file = safetensors(tmp_path / "stage.safetensors", header | more)
    assert message in error_of(load_stage, file)


def test_sizes_of_a_vae(tmp_path: Path) -> None:
    inner = "spatial_res_block.conv1.weight"
    names = {f"decoder.up_blocks.{n}.resnets.0.{inner}": empty(32, 0, 3, 3) for n in range(9)}
    names["decoder.up_blocks.0.resnets.0.temporal_res_block.conv1.weight"] = empty(0)
    names["decoder.conv_in.weight"] = empty(0)
    file = safetensors(tmp_path / "vae.safetensors", names)
    assert "expected 1 to 8 levels of 1 to 16 blocks" in error_of(load_vae, file)
    names = {name: empty(32 * 10**9, 0, 3, 3) if inner in name else shape for name, shape in list(names.items())[4:]}
    assert "multiples of 32 up to 8192" in error_of(load_vae, safetensors(file, names))
    assert "900 blocks per level" in error_of(
        load_vae, safetensors(file, names | {"decoder.up_blocks.0.resnets.900.x": empty(0)})
    )
    names = {f"decoder.up_blocks.{n}.resnets.0.{inner}": empty(8192, 0, 3, 3) for n in range(8)}
    names["decoder.up_blocks.0.resnets.16.temporal_res_block.x"] = names["decoder.conv_in.weight"] = empty(0)
    assert "of 8 levels of 16 blocks but only 10 tensors: expected a complete VAE" in error_of(
        load_vae, safetensors(file, names)
    )


def test_sizes_of_a_speech_encoder(tiny_files: dict[str, Path], tmp_path: Path) -> None:
    tensors = load_file(tiny_files["hubert"] / "model.safetensors")
    header = {name: empty(*tensor.shape[:-1], 0) for name, tensor in tensors.items()}
    positions = "encoder.pos_conv_embed.conv.parametrizations.weight.original1"
    file = tmp_path / "hubert.safetensors"
    for shape, message in (
        ((10**12, 2, 0), "hidden_size is 1000000000000, expected an integer from 1 to 8192"),
        ((64, 0, 128), "is not a complete speech encoder"),
        ((64, 0), "is not a complete speech encoder"),
    ):
        safetensors(file, header | {positions: empty(*shape)})
        assert message in error_of(load_encoder, "hubert", file)
    safetensors(file, header | {positions: empty(64, 2, 0), "encoder.layers.900.attention.k_proj.weight": empty(0)})
    assert "num_hidden_layers is 901, expected an integer from 1 to 128" in error_of(load_encoder, "hubert", file)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("[" * 50_000, "nested deeper than 32 levels"),
        ('{"__metadata__": {"a": "1", "a": "2"}}', "key 'a' occurs twice"),
        (f'{{"a": {json.dumps(empty(0))}, "a": {json.dumps(empty(0))}}}', "key 'a' occurs twice"),
        (f'{{"a": {{"dtype": "F32", "shape": [{"9" * 5000}], "data_offsets": [0, 0]}}}}', "an integer of 5000 digits"),
        ('{"a": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 0]}}', "beyond every number"),
        ('{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}', "is truncated or not a safetensors file"),
        ('{"a": {"dtype": "F32", "shape": [0, 4611686018427387904], "data_offsets": [0, 0]}}', ""),
        ('{"a": {"dtype": "X9", "shape": [0], "data_offsets": [0, 0]}}', "is truncated or not a safetensors file"),
        ("[]", "its header is not a JSON object"),
    ],
)
def test_headers(header: str, message: str, tmp_path: Path) -> None:
    file = safetensors(tmp_path / "stage.safetensors", header)
    assert message in error_of(load_stage, file)


def test_lengths_of_headers(tmp_path: Path) -> None:
    file = tmp_path / "stage.safetensors"
    for length in (2**63, 2**40, 2**25, 99_999_999):
        file.write_bytes(struct.pack("<Q", length) + b"{}")
        assert f"its header has {length} bytes, expected at most 16777216" in error_of(load_stage, file)


def test_number_of_tensors(tmp_path: Path) -> None:
    header = {f"t{number}": empty(0) for number in range(MOST_TENSORS + 1)}
    file = safetensors(tmp_path / "stage.safetensors", header)
    assert "contains more than 20000 tensors" in error_of(load_stage, file)


def test_two_tensors_of_one_name(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1), "_forward_module.a": torch.ones(1)}, tmp_path / "a.safetensors")
    assert "with and without _forward_module. in their names" in error_of(read_tensors, tmp_path / "a.safetensors")


def test_a_tensor_of_many_axes(tmp_path: Path) -> None:
    save_file({"a": torch.zeros([1] * 60)}, tmp_path / "a.safetensors")
    assert "a has 60 axes, more than 8" in error_of(read_tensors, tmp_path / "a.safetensors")


def test_metadata_in_a_tensor(tmp_path: Path) -> None:
    for text in (b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", bytes(2**21)):
        tensors = {f"{UNET}input_blocks.0.0.weight": torch.zeros(64, 8, 3, 3)}
        tensors["keysync.metadata"] = torch.from_numpy(np.frombuffer(text, np.uint8).copy())
        save_file(tensors, tmp_path / "stage.safetensors")
        assert "the tensor keysync.metadata is not KeySync's metadata" in error_of(
            load_stage, tmp_path / "stage.safetensors"
        )


# --- pickles


def zipped(path: Path, program: bytes, *, compressed: bool = False, **records: bytes) -> Path:
    """A PyTorch archive of this pickle; of two records with one name both are written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
            archive.writestr("archive/data.pkl", program)
            for name, content in records.items():
                archive.writestr(f"archive/data/{name.removeprefix('r')}", content)
            archive.writestr("archive/version", b"3\n")
    return path


def old_format(path: Path, program: bytes) -> Path:
    """A file in the format before torch 1.6 with this pickle as its content."""
    buffer = io.BytesIO()
    torch.save({}, buffer, _use_new_zipfile_serialization=False)
    start = buffer.getvalue()
    content = pickle.dumps({}, 2)
    before, _, after = start.partition(content)
    assert after
    path.write_bytes(before + program + after)
    return path


def storage(numbers: int, kind: str = "FloatStorage", key: str = "0") -> bytes:
    return (
        b"(" + text("storage") + b"c" + f"torch\n{kind}\n".encode() + text(key) + text("cpu") + integer(numbers) + b"tQ"
    )


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value: int) -> bytes:
    coded = value.to_bytes(9, "little", signed=True)
    return b"\x8a\x09" + coded


def tensor(numbers: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    sides, steps = (b"(" + b"".join(map(integer, values)) + b"t" for values in (shape, strides))
    build = b"ctorch._utils\n_rebuild_tensor_v2\n"
    return build + b"(" + storage(numbers) + integer(offset) + sides + steps + b"\x89ccollections\nOrderedDict\n)RtR"


def weights(value: bytes, name: str = "a") -> bytes:
    return b"\x80\x02}" + text(name) + value + b"s."


NESTED = b"\x80\x02}" + b")" + b"".join(b"q%c" % n + b"h%c" % n + b"\x86" for n in range(60)) + b"Ns."

PROGRAMS = {
    "a storage of 4 GB": (weights(tensor(10**9, (1,), (1,))), "storage 0 has 64 bytes|its storages have 4000000000"),
    "a tensor beyond its storage": (weights(tensor(16, (10**9,), (1,))), "a tensor is larger than its storage"),
    "a tensor that begins beyond": (weights(tensor(16, (4,), (1,), 13)), "a tensor is larger than its storage"),
    "a tensor of one number, 10**9 times": (weights(tensor(16, (10**9,), (0,))), "its tensors take 4000000000 bytes"),
    "negative strides": (weights(tensor(16, (4,), (-1,), 8)), "a tensor has an impossible shape"),
    "a shape without strides": (weights(tensor(16, (4, 1), (1,))), "a tensor has an impossible shape"),
    "bytes from a number": (weights(b"c__builtin__\nbytearray\n" + integer(2**32) + b"\x85R"), "imports bytearray"),
    "a storage by call": (weights(b"ctorch\nFloatStorage\n" + integer(2**30) + b"\x85R"), "imports torch.FloatStorag"),
    "a sparse tensor": (weights(b"ctorch._utils\n_rebuild_sparse_tensor\n)R"), "imports torch._utils._rebuild_sparse_"),
    "a hash that takes for ever": (NESTED, "it contains an unusual key"),
    "a set of nested tuples": (
        weights(b"c__builtin__\nset\n](" + NESTED[3:-3] + b"e\x85R"),
        "it contains an unusual key",
    ),
    "an enormous text": (b"\x80\x02X\xff\xff\xff\x7fa.", "is truncated or not a PyTorch weight file"),
    "no end": (b"\x80\x02}", "is truncated or not a PyTorch weight file"),
    "code": (weights(b"cos\nsystem\n" + text("true") + b"\x85R"), "imports os.system, and code from a weight file is"),
    "code with a name to print": (weights(b"c\x1b[2J\nsystem\n)R"), r"imports \?\[2J.system"),
    "a million opcodes": (b"\x80\x02" + b"N0" * 2_000_001 + b".", "it contains the opcode POP|more than 2000000 opc"),
}


@pytest.mark.parametrize("attack", PROGRAMS)
@pytest.mark.parametrize("write", [zipped, old_format])
def test_programs(attack: str, write: Callable[..., Path], tmp_path: Path) -> None:
    program, message = PROGRAMS[attack]
    records = {"r0": bytes(64)} if write is zipped else {}
    file = write(tmp_path / "model.pt", program, **records)
    told = error_of(load_stage, file)
    if write is old_format and "a tensor is" not in message and "its tensors" in message:
        message = "its tensors take|its storages have"
    assert re.search(message, told), told


def test_what_is_written_like_an_attack_is_read(tmp_path: Path) -> None:
    """The helpers above write what torch reads, so that the tests refuse what they mean to."""
    for file in (
        zipped(tmp_path / "a.pt", weights(tensor(16, (2, 8), (8, 1))), r0=bytes(64)),
        zipped(tmp_path / "b.pt", weights(tensor(16, (2, 16), (0, 1))), r0=bytes(64)),
    ):
        assert read_tensors(file)[0]["a"].shape[0] == 2


def test_archives(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    good = weights(tensor(16, (16,), (1,)))
    assert "its record archive/data.pkl is compressed" in error_of(
        load_stage, zipped(file, b"\x80\x02N0" * 10**6, compressed=True)
    )
    assert "storage 0 has None bytes, expected 64" in error_of(load_stage, zipped(file, good))
    zipped(file, good, r0=bytes(64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("archive/data/0", bytes(64))
    assert "two records have one name" in error_of(load_stage, file)
    content = zipped(file, good, r0=bytes(64)).read_bytes()
    file.write_bytes(content.replace(struct.pack("<II", 64, 64), struct.pack("<II", 2**31, 2**31)))
    assert "is truncated or not a PyTorch weight file" in error_of(load_stage, file)


def test_a_flipped_bit_in_an_archive(tiny_files: dict[str, Path], tmp_path: Path) -> None:
    """Its checksums tell; where the writer left them out, nothing does."""
    tensors = load_file(tiny_files["keyframe"])
    file = tmp_path / "stage.pt"
    torch.save({"module": tensors}, file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert "is truncated or not a PyTorch weight file (Bad CRC-32" in error_of(load_stage, file)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"module": tensors}, file)
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_tensors(file)[0].keys() == tensors.keys()


def test_pickles_need_a_torch_that_reads_them_safely(
    tiny_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "stage.pt"
    torch.save({"module": load_file(tiny_files["keyframe"])}, file)
    for version, refused in (("2.5.1+cu124", True), ("2.4.0", True), ("2.6.0", False), ("2.10.0+cpu", False)):
        monkeypatch.setattr(torch, "__version__", version)
        if refused:
            assert error_of(read_tensors, file) == (
                f"{file} is refused: with PyTorch {version} a pickle can run code (CVE-2025-32434): "
                "update PyTorch to 2.6 or newer, or use a .safetensors file"
            )
            open_stage(tiny_files["keyframe"])
        else:
            assert read_tensors(file)[0]


def test_microsofts_settings_are_data(tiny_files: dict[str, Path], tmp_path: Path) -> None:
    tensors: dict[str, Tensor] = load_file(tiny_files["wavlm"] / "model.safetensors")
    model = {**tensors, "post_extract_proj.weight": torch.zeros(1)}
    file = tmp_path / "WavLM.pt"
    for cfg, message in (
        ({"max_distance": 10**9}, "max_distance is 1000000000, expected an integer from 1 to 65536"),
        ({"max_distance": "800"}, "max_distance is '800', expected an integer"),
        ({"normalize": 1}, "normalize is 1, expected true or false"),
        ({"normalize": True}, "is a WavLM for normalised speech"),
        ([], "lacks|is not a complete speech encoder|has shape"),
    ):
        torch.save({"cfg": cfg, "model": model}, file)
        assert re.search(message, error_of(load_encoder, "wavlm", file))
    save_file(model, tmp_path / "WAVLM.SAFETENSORS")
    assert "truncated" not in error_of(load_encoder, "wavlm", tmp_path / "WAVLM.SAFETENSORS")
