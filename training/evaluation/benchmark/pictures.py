"""Columns of the pictures: features of frames for CMMD and FID, of windows of frames for FVD, and TOPIQ's quality.

All see the crops of the face, SIDE pixels wide. Weights come through hooks; the networks' code is that of packages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from keysync.errors import KeySyncError, one_line
from keysync.measure.sharpness import laplacian_variance, luma
from keysync.systems.renderer import Option
from keysync.weights.files import read_tensors

from .distances import cmmd, frechet
from .hook import Hook, fill, read_weights
from .meters import Distances, Scores
from .take import Floats, Take

# Pictures are looked at in every so many frames, and so many at once.
EVERY, BATCH = 5, 16
# The mean and spread of the colours that CLIP takes.
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# What I3D takes: pixels, and the frames of a window.
I3D_SIDE, WINDOW = 224, 16
CLASSES = 400

CLIP = Hook(
    Option.file("--cmmd", "CLIP ViT-L/14 at 336 pixels in transformers' layout, for CMMD", "FOLDER"),
    "CLIP ViT-L/14 at 336 pixels, a folder of transformers",
    "huggingface.co/openai/clip-vit-large-patch14-336",
    "see its model card",
)
INCEPTION = Hook(
    Option.file("--fid", "weights of Inception in torch-fidelity's layout, for FID", "FILE"),
    "torch-fidelity's weights of Inception (weights-inception-2015-12-05-6726825d.pth)",
    "the releases of github.com/toshas/torch-fidelity",
    "Apache-2.0",
    "torch-fidelity",
    "Apache-2.0",
)
I3D = Hook(
    Option.file("--fvd", "weights of I3D in cd-fvd's layout, for FVD", "FILE"),
    "the weights of I3D trained on Kinetics-400 that cd-fvd uses (i3d_pretrained_400.pt)",
    "github.com/songweige/TATS",
    "not stated; the converted code is Apache-2.0",
    "cd-fvd",
    "MIT",
)
TOPIQ = Hook(
    Option.file("--topiq", "weights of pyiqa's topiq_nr-face-v1, for TOPIQ", "FILE"),
    "pyiqa's weights topiq_nr_gfiqa_res50-d76bf1ae.pth",
    "huggingface.co/chaofengc/IQA-PyTorch-Weights",
    "see its card",
    "pyiqa",
    "PolyForm Noncommercial 1.0.0: no commercial use",
)

Files = Mapping[str, Path | None]


def sharpness(take: Take) -> float | None:
    """VL: the mean variance of the Laplacian of the crops' luma, 0..255."""
    values = [laplacian_variance(luma(crop)) for crop in take.crops]
    return float(np.mean(values)) if values else None


def open_cmmd(files: Files, device: torch.device) -> Distances:
    """CMMD. Raises `Missing` without weights, `KeySyncError` for those of another network."""
    from transformers import CLIPVisionModelWithProjection  # here: slow to import

    folder = CLIP.file(files)
    try:
        model, told = CLIPVisionModelWithProjection.from_pretrained(
            str(folder), local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise KeySyncError(f"{folder} cannot be loaded ({one_line(error)}): expected {CLIP.what} (--cmmd)") from error
    if told["missing_keys"]:
        raise KeySyncError(f"{folder} has no tensor {min(told['missing_keys'])}: expected {CLIP.what} (--cmmd)")
    model.to(device).eval()
    side = model.config.image_size
    mean, std = (torch.tensor(row, device=device).view(3, 1, 1) for row in (CLIP_MEAN, CLIP_STD))

    def embed(pictures: Tensor) -> Tensor:
        small = F.interpolate(pictures.float() / 255, (side, side), mode="bicubic")
        found: Tensor = model(pixel_values=(small - mean) / std).image_embeds
        return F.normalize(found, dim=-1)

    return Distances(lambda take: _rows(_batches(take, device), embed), cmmd)


def open_fid(files: Files, device: torch.device) -> Distances:
    """FID. Raises `Missing` without weights or torch-fidelity, `KeySyncError` for other weights."""
    path = INCEPTION.file(files)
    code = INCEPTION.code("torch_fidelity.feature_extractor_inceptionv3")
    read_tensors(path)  # torch-fidelity would run code that is in the file
    try:
        network: Any = code.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
        ).to(device)
    except RuntimeError as error:
        raise KeySyncError(f"{path} is not {INCEPTION.what}: {one_line(error)} (--fid)") from error
    return Distances(lambda take: _rows(_batches(take, device), lambda pictures: network(pictures)[0]), frechet)


def open_fvd(files: Files, device: torch.device) -> Distances:
    """FVD over windows of 16 frames. Raises `Missing` without weights or cd-fvd, `KeySyncError` for other weights."""
    path = I3D.file(files)
    network: Any = I3D.code("cdfvd.third_party.i3d.pytorch_i3d").InceptionI3d(CLASSES, in_channels=3)
    fill(network, read_tensors(path)[0], path, I3D.what)
    network.to(device)

    def logits(window: Tensor) -> Tensor:
        small = F.interpolate(window.float(), (I3D_SIDE, I3D_SIDE), mode="bilinear")
        found: Tensor = network((small / 127.5 - 1).transpose(0, 1)[None])  # t c h w -> 1 c t h w
        return found.flatten(1)

    return Distances(lambda take: _rows(_windows(take, device), logits), frechet)


def open_topiq(files: Files, device: torch.device) -> Scores:
    """TOPIQ of faces. Raises `Missing` without weights or pyiqa, `KeySyncError` for other weights.

    The crops are given as they are: pyiqa's own cutting of faces would download two more networks.
    """
    path = TOPIQ.file(files)
    # Another `model_name`: by its own, pyiqa prepares to cut faces out, and `pretrained` would download.
    metric: Any = TOPIQ.code("pyiqa").create_metric(
        "topiq_nr-face-v1",
        device=device,
        model_name="given",
        align_crop_face=False,
        pretrained=False,
        backbone_pretrain=False,
    )
    fill(metric.net, read_weights(path, "params"), path, TOPIQ.what)

    def quality(take: Take) -> float | None:
        found = [float(metric(pictures / 255).mean()) for pictures in _batches(take, device, 1)]
        return float(np.mean(found)) if found else None

    return Scores(quality)


def _batches(take: Take, device: torch.device, size: int = BATCH) -> Iterator[Tensor]:
    """Every fifth frame, (n, 3, H, W) uint8 of 0..255, so many at once."""
    frames = take.crops[::EVERY]
    for first in range(0, len(frames), size):
        yield torch.from_numpy(frames[first : first + size]).permute(0, 3, 1, 2).to(device)  # n h w c -> n c h w


def _windows(take: Take, device: torch.device) -> Iterator[Tensor]:
    """Windows of frames (WINDOW, 3, H, W), one after the other; what remains at the end is left out."""
    for first in range(0, len(take) - WINDOW + 1, WINDOW):
        yield torch.from_numpy(take.crops[first : first + WINDOW]).permute(0, 3, 1, 2).to(device)


@torch.inference_mode()
def _rows(batches: Iterator[Tensor], network: Callable[[Tensor], Tensor]) -> Floats | None:
    """The rows that a network makes of all batches; None without a batch."""
    rows = [network(batch).double().cpu().numpy() for batch in batches]
    return np.concatenate(rows) if rows else None
