"""BEATs, which hears all kinds of sounds: laughs, sighs and music too. KeyFace hears it beside a speech encoder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import KeySyncError
from ..weights.files import SAFETENSORS, read_pickle, read_tensors, shapes_of
from ..weights.finite import check_weights
from ..weights.identify import KINDS, Shapes, identify
from ..weights.settings import FLAG, Table, allowed, one_of, only, whole
from .beats_network import BeatsConfig, BeatsNetwork
from .encoder import CONTEXT, WINDOW, SpeechEncoder, followed
from .fbank import FRAME as SPECTRUM
from .fbank import HOP, fbank
from .features import FRAME, ROW

# The mean of the spectrograms that it was trained on, and twice their deviation.
MEAN, SPREAD = 15.41663, 2 * 6.55582
# Samples of a block of tokens, and those that its last row sees beyond.
BLOCK, BEYOND = 16 * HOP, SPECTRUM - HOP
MOST_WIDTH, MOST_LAYERS = 8192, 128
# What the settings in Microsoft's file must say, and what is taken from them; the shapes say all the rest.
SETTINGS: Table = {
    "max_distance": whole(2, 65536),
    "deep_norm": FLAG,
    "input_patch_size": whole(16, 16),
    "activation_fn": one_of("gelu"),
    "layer_norm_first": only(False),
    "gru_rel_pos": only(True),
}


class Beats(SpeechEncoder):
    """BEATs: takes the signal as it is, padded to an even number of frames; stretches its tokens to two per frame.

    Tokens come in blocks of 160 ms, one for each of eight mel bands, and are taken as if they followed one another in
    time, as KeyFace was trained with.
    """

    name = "beats"
    files = "BEATs (published KeyFace models): Microsoft's BEATs_iter3+ file"
    files_zh = "BEATs(公开的 KeyFace 模型): 微软的 BEATs_iter3+ 文件"

    @classmethod
    def load(cls, path: Path, device: torch.device, dtype: torch.dtype) -> Beats:
        tensors, _ = read_tensors(path)
        kind, sign = identify(shapes_of(tensors))
        if kind != cls.name:
            raise KeySyncError(f"{path} is {KINDS[kind]} ({sign}): expected {KINDS[cls.name]}", about=cls.name)
        network = _build(path, shapes_of(tensors))
        # Copied: a memory-mapped tensor would change with its file.
        needed = {name: tensors[name] for name in network.state_dict()}
        check_weights(path, needed)
        weights = {name: tensor.to(device=device, dtype=dtype, copy=True) for name, tensor in needed.items()}
        network.load_state_dict(weights, assign=True)
        return cls(network.eval().requires_grad_(False))

    @property
    def channels(self) -> int:
        return int(self.model.config.width)

    def _encode(self, waveform: Tensor, one_pass: int) -> Tensor:
        even = followed(waveform, len(waveform) % (2 * FRAME))
        count = len(even) // ROW
        # Sound that is too short for a block of tokens is followed by silence.
        tokens = self._tokens(followed(even, max(0, BLOCK + BEYOND - len(even))), one_pass)
        return tokens[torch.arange(count) * len(tokens) // count]

    def _tokens(self, waveform: Tensor, one_pass: int) -> Tensor:
        """All tokens (m, c) of a waveform; of a long one in windows of which only the middle is kept."""
        blocks, window, context = (len(waveform) - BEYOND) // BLOCK, WINDOW // BLOCK, CONTEXT // BLOCK
        if len(waveform) <= max(one_pass, WINDOW):
            return self._run(waveform)
        made = []
        for start in range(0, blocks, window - 2 * context):
            stop = min(start + window - 2 * context, blocks)
            begin = min(max(start - context, 0), blocks - window)
            tokens = self._run(waveform[begin * BLOCK : (begin + window) * BLOCK + BEYOND])
            each = len(tokens) // window
            made.append(tokens[(start - begin) * each : (stop - begin) * each])
        return torch.cat(made)

    def _run(self, waveform: Tensor) -> Tensor:
        place = self.model.layer_norm.weight
        spectrogram = (fbank(waveform.to(place.device, torch.float32)) - MEAN) / SPREAD
        tokens: Tensor = self.model(spectrogram.to(place.dtype))
        return tokens.float().cpu()


def _build(path: Path, shapes: Shapes) -> BeatsNetwork:
    """The network on the meta device, of the sizes in the file. Raises `KeySyncError` for missing and other tensors."""
    config = _config(path, shapes)
    with torch.device("meta"):
        network = BeatsNetwork(config)
    needed = shapes_of(network.state_dict())
    odd = sorted(name for name, shape in needed.items() if shapes.get(name) != shape)
    odd += sorted(name for name in shapes.keys() - needed.keys() if name.startswith("encoder."))
    if odd:
        name = odd[0]
        raise KeySyncError(
            f"{path}: {name} has shape {shapes.get(name, 'none')}: expected {needed.get(name, 'none')}; "
            "copy or download it again"
        )
    return network


def _config(path: Path, shapes: Shapes) -> BeatsConfig:
    def size(name: str, dimension: int) -> int:
        return (*shapes.get(name, ()), 0, 0, 0)[dimension]

    numbers = (re.match(r"encoder\.layers\.(\d+)\.", name) for name in shapes)
    layers = 1 + max((int(number[1]) for number in numbers if number), default=-1)
    width, group = size("encoder.pos_conv.0.weight_v", 0), size("encoder.pos_conv.0.weight_v", 1)
    bias = "encoder.layers.0.self_attn.relative_attention_bias.weight"
    embed, heads, buckets = size("patch_embedding.weight", 0), size(bias, 1), size(bias, 0)
    inner = size("encoder.layers.0.fc1.weight", 0)
    sizes = 0 < layers <= MOST_LAYERS and 0 < embed <= MOST_WIDTH and 0 < inner <= 8 * MOST_WIDTH and buckets >= 4
    if not sizes or not 0 < width <= MOST_WIDTH or min(group, heads) < 1 or width % group or width % heads:
        raise KeySyncError(
            f"{path} has {layers} layers of {width} channels with {heads} heads: expected BEATs of up to {MOST_LAYERS} "
            f"layers and {MOST_WIDTH} channels; copy or download it again"
        )
    told = BeatsConfig(
        embed_dim=embed,
        width=width,
        layers=layers,
        heads=heads,
        inner=inner,
        kernel=size("encoder.pos_conv.0.weight_v", 2),
        groups=width // group,
        buckets=buckets,
    )
    stated = _stated(path)
    return replace(
        told,
        farthest=stated.get("max_distance", told.farthest),
        deep_norm=stated.get("deep_norm", told.deep_norm),
    )


def _stated(path: Path) -> dict[str, Any]:
    """The settings in Microsoft's file that no shape tells; none in a safetensors file, which is taken as published."""
    if path.suffix.lower() == SAFETENSORS:
        return {}
    stated = read_pickle(path).get("cfg")
    try:
        return allowed(stated if isinstance(stated, Mapping) else {}, SETTINGS, str(path))
    except ValueError as error:
        raise KeySyncError(
            f"the settings in {path} are not those of BEATs ({error}): copy or download it again"
        ) from error
