"""A program for `test_held.py`, in ComfyUI's folder: a dub whose imports keep every frame below them, then /free.

`python held.py ROOT TINY FOLDER` prints a JSON object: for each model whether it still lives.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import sys
import weakref
from fractions import Fraction
from pathlib import Path
from typing import Any

ROOT, TINY, FOLDER = (Path(argument) for argument in sys.argv[1:])
sys.path.insert(0, str(Path.cwd()))
sys.argv = ["main.py", "--cpu", "--base-directory", str(FOLDER)]
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import torch  # noqa: E402
import utils.extra_config  # noqa: E402, F401 - first, as in main.py

torch.set_num_threads(1)


class Keeper:
    """Keeps the frames of all who import one of the large packages, as a kept traceback of an import would."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.split(".")[0] in ("diffusers", "transformers"):
            self.kept.append(sys._getframe())


def load(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


def models() -> dict[str, Any]:
    """The loaders' outputs, made in one frame, as the executor's cache holds them."""
    loaded = {name: part("nodes.host.model").load_model(TINY / f"{name}.safetensors") for name in STAGES}
    loaded["vae"] = part("nodes.host.vae").core_vae(part("keysync.vae.vae").read_vae(TINY / "vae"))
    for name in ("hubert", "wavlm"):
        loaded[name] = part("nodes.host.encoder").load(TINY / name)
    return loaded


def dub(clip: Path, speech: dict[str, Any]) -> dict[str, weakref.ref[Any]]:
    loaded = models()
    settings = dict.fromkeys(("audio_guidance", "identity_guidance"), 0.0)
    with torch.inference_mode():
        part("nodes.dub").DubVideo.execute(
            InputImpl.VideoFromFile(str(clip)),
            speech,
            *loaded.values(),
            sync_mode="cut_off",
            mask="box",
            seed=1,
            steps=10,
            detector="mediapipe",
            face_index=0,
            **settings,
        )
    inner = {
        name: getattr(model, "model", None) or getattr(model, "first_stage_model", None) or model._encoder.model
        for name, model in loaded.items()
    }
    return {name: weakref.ref(model) for name, model in inner.items()}


STAGES = ("keyframe", "interpolation")
load("portrait", ROOT / "tests" / "portrait.py")
load("keysync_extension", ROOT / "__init__.py")
import comfy.model_management as management  # noqa: E402
import folder_paths  # noqa: E402
from comfy_api.latest import InputImpl  # noqa: E402
from portrait import portrait_frames  # noqa: E402

folder_paths.set_temp_directory(str(FOLDER / "temp"))
clip = FOLDER / "portrait.mp4"
like = part("keysync.media.info").PictureFormat(192, 192, Fraction(1, 25), Fraction(25))
with part("keysync.media.writer").VideoWriter(clip, like) as writer:
    for pts, frame in enumerate(portrait_frames(8, 192)):
        writer.write(frame, pts)
part("nodes")  # as ComfyUI does when it starts
keeper = Keeper()
sys.meta_path.insert(0, keeper)
references = dub(clip, {"waveform": torch.zeros(1, 1, 8000), "sample_rate": 16_000})
# What ComfyUI does at /free.
management.unload_all_models()
gc.collect()
management.cleanup_models()
management.soft_empty_cache()
gc.collect()
print(json.dumps({"kept": len(keeper.kept), **{name: model() is not None for name, model in references.items()}}))
