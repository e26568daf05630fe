"""A stage's checkpoint as the core's MODEL, and the folders that checkpoints lie in."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch
from torch import Tensor

from ...keysync.errors import KeySyncError, one_line
from ...keysync.network.stage import STAGES
from ...keysync.systems.keysync.small import BUILT_IN as SMALL_BUILT_IN
from ...keysync.weights.checkpoint import StageFile, open_stage, open_weak
from ...keysync.weights.files import PICKLES, SAFETENSORS
from ...keysync.weights.identify import UNET
from .files import built_in
from .network import KeySyncConfig, KeySyncModel

BUILT_IN = built_in(*STAGES)
FOLDERS = ("keysync", "diffusion_models", "checkpoints")

log = logging.getLogger(__name__)


def register(folder: Path) -> None:
    """Makes a folder one of those of KeySync's models, and creates it, for files to be dropped or downloaded there."""
    folder_paths.add_model_folder_path("keysync", str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # read-only, perhaps; extra_model_paths.yaml may name another
        log.info("the folder %s cannot be created: %s", folder, one_line(error))


register(Path(folder_paths.models_dir, "keysync"))
# A set that is empty, as the core leaves it, would list every file.
folder_paths.folder_names_and_paths["keysync"][1].update((SAFETENSORS, *PICKLES))


def model_files() -> list[str]:
    """Names of the files that may be KeySync checkpoints, the built-in ones first; each name once."""
    return list(dict.fromkeys((*BUILT_IN, *own_files())))


def own_files() -> list[str]:
    """Names of the files that may be checkpoints in ComfyUI's folders, each once."""
    return list(dict.fromkeys(name for folder in FOLDERS for name in folder_paths.get_filename_list(folder)))


def model_path(name: str) -> Path:
    """Where a file of `model_files` lies; raises `KeySyncError` if it has gone."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    for folder in FOLDERS:
        path = folder_paths.get_full_path(folder, name)
        if path is not None:
            return Path(path)
    places = ", ".join(f"models/{folder}" for folder in FOLDERS)
    raise KeySyncError(f"{name} is in none of {places}: put it there or choose another file")


def load_model(
    path: Path, dtype: torch.dtype | None = None, *, expect: str | None = None
) -> comfy.model_patcher.ModelPatcher:
    """The stage of a checkpoint; `dtype` is that of the U-Net's weights, by default as the core chooses.

    `expect` and the errors are those of `open_stage`.
    """
    return _model(open_stage(path, expect=expect), dtype)


def load_weak_model(
    path: Path, guided: comfy.model_patcher.ModelPatcher, dtype: torch.dtype | None = None
) -> comfy.model_patcher.ModelPatcher:
    """The weaker copy of the network of a MODEL, which guides it; see `open_weak`, also for the errors."""
    opened = open_weak(path, guided.model.conditioner)
    return _model(replace(opened, spec=replace(opened.spec, weak=True)), dtype)


def _model(opened: StageFile, dtype: torch.dtype | None) -> comfy.model_patcher.ModelPatcher:
    path = opened.path
    unet = {name.removeprefix(UNET): tensor for name, tensor in opened.own().items() if name.startswith(UNET)}
    config = KeySyncConfig(opened.spec.unet)
    _choose_dtypes(config, unet, dtype)
    # The executor runs nodes in inference mode, and tensors made there cannot be patched by LoRA later.
    with torch.inference_mode(False):
        model = KeySyncModel(opened.spec, config, opened.tensors)
        model.origin = SMALL_BUILT_IN if path in BUILT_IN.values() else path.name
        model.file = path
        return _patcher(model, unet)


def _choose_dtypes(config: KeySyncConfig, unet: dict[str, Tensor], dtype: torch.dtype | None) -> None:
    """What the weights are held in and what is computed in, as the core's diffusion model loader decides."""
    management = comfy.model_management
    if dtype is None:
        dtype = management.unet_dtype(
            model_params=comfy.utils.calculate_parameters(unet),
            supported_dtypes=config.supported_inference_dtypes,
            weight_dtype=comfy.utils.weight_dtype(unet),
        )
    compute = management.unet_manual_cast(dtype, management.get_torch_device(), config.supported_inference_dtypes)
    config.set_inference_dtype(dtype, compute)


def _patcher(model: KeySyncModel, unet: dict[str, Tensor]) -> comfy.model_patcher.ModelPatcher:
    management = comfy.model_management
    offload_device = management.unet_offload_device()
    # ComfyUI 0.8.0 has one kind of patcher only.
    kind = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    patcher = kind(model, load_device=management.get_torch_device(), offload_device=offload_device)
    if not management.is_device_cpu(offload_device):
        model.to(offload_device)
    assign = {"assign": True} if kind is not comfy.model_patcher.ModelPatcher and patcher.is_dynamic() else {}
    model.load_model_weights(unet, "", **assign)
    return patcher
