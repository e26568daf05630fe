"""The original's own dub, run by a process that knows nothing of KeySync for ComfyUI: `theirs.py TREE FOLDER`.

TREE is a checkout of the original, FOLDER holds the inputs. It reads commands, a line each, and answers each with a
line of JSON: `make` writes its tiny models, which a seed gives, as the original publishes them; `dub` dubs and answers
with the seconds of each stage.

The original runs on CUDA in half precision and at 512x512; here its functions run unchanged on the CPU, in float32 and
at the size of `FOLDER/job.json`. What it imports and a dub never calls is stubbed. Reading and writing go through PyAV,
as torchvision, which it calls for them, no longer has either.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
import types
import wave
from collections import defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import MagicMock

import av
import numpy as np
import torch
import torch.nn.functional as F

TREE, FOLDER = Path(sys.argv[1]), Path(sys.argv[2])
JOB = json.loads((FOLDER / "job.json").read_text())
SIZE: int = JOB["size"]
# What the original needs for other things than a dub.
STUBBED = (
    "audiomentations",
    "clint",
    "decord",
    "face_alignment",
    "facenet_pytorch",
    "imwatermark",
    "insightface",
    "kornia",
    "lpips",
    "matplotlib",
    "moviepy",
    "open_clip",
    "sam2",
    "skimage",
    "soundfile",
    "wandb",
    "whisper",
)
spent: defaultdict[str, float] = defaultdict(float)


class Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes modules of nothing for what is not installed and never called."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in STUBBED:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = MagicMock(name=spec.name)
        module.__spec__, module.__path__, module.__name__ = spec, [], spec.name
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


@contextlib.contextmanager
def timed(stage: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        spent[stage] += time.perf_counter() - began


def timing(stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any, **options: Any) -> Any:
        with timed(stage):
            return call(*arguments, **options)

    return run


def read_video(path: str, **_: Any) -> tuple[torch.Tensor]:
    """All frames (n, 3, h, w), uint8."""
    with timed("read"), av.open(path) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return (torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2),)


def write_video(path: str, frames: Any, fps: int, **_: Any) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("h264", rate=Fraction(fps))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())


def load_sound(path: str, **_: Any) -> tuple[torch.Tensor, int]:
    with wave.open(path) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return torch.from_numpy(samples.astype(np.float32) / 32768)[None], file.getframerate()


def run_on_the_cpu() -> None:
    """Sends what is meant for CUDA to the CPU, keeps float32, and shrinks 512x512 pixels to the job's size."""
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[assignment,method-assign]
    torch.autocast = lambda *_, **__: contextlib.nullcontext()  # type: ignore[assignment,misc]
    sizes: dict[Any, Any] = {512: SIZE, (512, 512): (SIZE, SIZE), (64, 64): (SIZE // 8, SIZE // 8)}
    interpolate = F.interpolate

    def smaller(input: torch.Tensor, size: Any = None, *arguments: Any, **options: Any) -> torch.Tensor:
        key = size if isinstance(size, int | type(None)) else tuple(size)
        resized: torch.Tensor = interpolate(input, sizes.get(key, size), *arguments, **options)
        return resized

    F.interpolate = smaller


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, attn_bias: None = None, op: None = None) -> torch.Tensor:
    """xformers' attention, which runs on CUDA alone, by torch's: (rows, tokens, channels)."""
    return F.scaled_dot_product_attention(q[None], k[None], v[None])[0]


def import_xformers() -> None:
    """The original's own fallback without xformers fails."""
    package, ops = types.ModuleType("xformers"), types.ModuleType("xformers.ops")
    package.__version__, package.ops, ops.memory_efficient_attention = "0.0.30", ops, attend  # type: ignore[attr-defined]
    package.__spec__ = importlib.machinery.ModuleSpec("xformers", None)
    sys.modules |= {"xformers": package, "xformers.ops": ops}


def import_original() -> Any:
    import torchaudio
    import torchvision.io

    sys.meta_path.insert(0, Stubs())
    sys.path.insert(0, str(TREE))
    torchvision.io.read_video, torchvision.io.write_video = read_video, write_video
    torchaudio.load = load_sound
    run_on_the_cpu()
    import diffusers  # before xformers is there: it would ask for the rest of it
    import transformers

    del diffusers, transformers
    import_xformers()
    import scripts.sampling.dubbing_pipeline_raw as pipeline

    return pipeline


def settings(name: str) -> dict[str, Any]:
    """The original's configuration of a stage, narrower."""
    from omegaconf import OmegaConf

    loaded = OmegaConf.load(TREE / "scripts" / "sampling" / "configs" / f"{name}.yaml")
    config: Any = OmegaConf.to_container(loaded)["model"]["params"]
    config["network_config"]["params"] |= JOB["unet"] | {
        "use_checkpoint": False,
    }
    config["network_config"]["params"]["audio_dim"] = JOB["unet"]["context_dim"]
    for embedder in config["conditioner_config"]["params"]["emb_models"]:
        if embedder["input_key"] == "audio_emb":
            embedder["params"] |= {"linear_dim": JOB["unet"]["context_dim"], "audio_dim": JOB["audio_channels"]}
        if embedder["input_key"] == "cond_frames":
            embedder["params"]["encoder_config"]["params"]["ddconfig"]["attn_type"] = "vanilla"
    for part in ("encoder_config", "decoder_config"):
        config["first_stage_config"]["params"][part]["params"] |= JOB["vae"]
    if name == "interpolation":
        config["network_wrapper"].setdefault("params", {})["im_size"] = [SIZE, SIZE]
    config["sampler_config"]["params"] |= {"device": "cpu", "verbose": False}
    config["ckpt_path"] = None
    return {"input_key": "latents"} | dict(config)


def randomise(module: Any) -> Any:
    """Random weights, small enough that rounding does not grow from step to step; none is zero, nothing is trained."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5 * parameter[0].numel() ** -0.5)
    return module.eval()


class Landmarks:
    """Stands for the original's face finder: the points are given."""

    def __init__(self) -> None:
        self.points = np.load(FOLDER / "landmarks.npy")
        self.next = 0

    def extract_landmarks(self, frames: torch.Tensor) -> list[Any]:
        first, self.next = self.next, self.next + len(frames)
        return list(self.points[first : self.next])


class Original:
    """The original's pipeline with tiny models."""

    def __init__(self) -> None:
        self.pipeline = import_original()
        from diffusers import AutoencoderKLTemporalDecoder
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
        from omegaconf import OmegaConf
        from scripts.util.audio.WavLM import WavLM, WavLMConfig
        from scripts.util.vae_wrapper import VaeWrapper
        from sgm.models.diffusion import DiffusionEngine
        from transformers import HubertConfig, HubertModel

        torch.manual_seed(JOB["seed"])
        self.stages = {
            name: randomise(DiffusionEngine(**OmegaConf.create(settings(name))))
            for name in ("keyframe", "interpolation")
        }
        decoder = {key: value for key, value in self.stages["keyframe"].state_dict().items() if "first_stage" in key}
        self.stages["interpolation"].load_state_dict(decoder, strict=False)
        wide = {"block_out_channels": JOB["vae_channels"], "layers_per_block": 2}
        kinds = ("DownEncoderBlock2D",) * len(JOB["vae_channels"])
        self.vae = randomise(AutoencoderKLTemporalDecoder(down_block_types=kinds, **wide))
        self.hubert = randomise(HubertModel(HubertConfig(**JOB["hubert"])))
        self.wavlm_config = JOB["wavlm"]
        self.wavlm = randomise(WavLM(WavLMConfig(self.wavlm_config)))
        # The original adds the encoder's own noise, which no seed shares: the mode makes numbers comparable.
        DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mode()
        self.wrapped = torch.nn.Module.__new__(VaeWrapper)
        torch.nn.Module.__init__(self.wrapped)
        self.wrapped.vae_model, self.wrapped.latent_type, self.wrapped.max_chunk_decode = self.vae, "video", 16
        self._time()

    def make(self) -> str:
        """Writes the models as they are published; returns where."""
        from safetensors.torch import save_file

        kept = (
            "model.diffusion_model.",
            "model.learned_mask",
            "conditioner.embedders.2.linear",
            "first_stage_model.decoder",
        )
        for name, stage in self.stages.items():
            tensors = {key: value.contiguous() for key, value in stage.state_dict().items() if key.startswith(kept)}
            save_file(tensors, FOLDER / f"{name}.safetensors")
        self.vae.save_pretrained(FOLDER / "vae")
        self.hubert.save_pretrained(FOLDER / "hubert")
        torch.save({"cfg": self.wavlm_config, "model": self.wavlm.state_dict()}, FOLDER / "WavLM.pt")
        return str(FOLDER)

    def _time(self) -> None:
        pipeline = self.pipeline
        pipeline.compute_video_embedding = timing("encode", pipeline.compute_video_embedding)
        pipeline.get_audio_embeddings = timing("speech", pipeline.get_audio_embeddings)
        pipeline.save_audio_video = timing("write", pipeline.save_audio_video)
        pipeline.scale_landmarks = lambda points, *_: points  # they are the film's own
        for name, stage in self.stages.items():
            stage.decode_first_stage = timing("decode", stage.decode_first_stage)
            stage.sampler = Sampler("keyframes" if name == "keyframe" else name, stage.sampler)
        decode = self.stages["interpolation"].decode_first_stage

        def kept(latents: torch.Tensor) -> torch.Tensor:
            Sampler.latents.append(latents.clone())
            pictures: torch.Tensor = decode(latents)
            return pictures

        self.stages["interpolation"].decode_first_stage = kept

    def dub(self) -> dict[str, Any]:
        spent.clear()
        noise = torch.load(FOLDER / "noise.pt", weights_only=True)
        pending = {"keyframes": list(noise["keyframes"]), "windows": list(noise["windows"])}
        randn = torch.randn

        def given(*shape: Any, **options: Any) -> torch.Tensor:
            (frames, *rest) = shape[0] if isinstance(shape[0], tuple) else shape
            kind = "keyframes" if Sampler.sampled.get("keyframes", 0) < Sampler.expected else "windows"
            some = pending[kind][: frames // 14]
            del pending[kind][: frames // 14]
            return torch.cat([one.clone() for one in some]).view(frames, *rest)

        Sampler.sampled.clear()
        Sampler.latents.clear()
        Sampler.expected = len(noise["keyframes"])
        torch.randn = given
        began = time.perf_counter()
        try:
            with contextlib.redirect_stdout(sys.stderr):
                self._sample()
        finally:
            torch.randn = randn
        total = time.perf_counter() - began
        torch.save(torch.cat(Sampler.latents), FOLDER / "theirs.pt")
        return {"total": total, **spent}

    def _sample(self) -> None:
        self.pipeline.sample(
            self.stages["interpolation"],
            self.stages["keyframe"],
            video_path=str(FOLDER / "video.mkv"),
            audio_path=str(FOLDER / "speech.wav"),
            num_frames=14,
            resize_size=512,
            device="cpu",
            output_folder=str(FOLDER / "theirs"),
            decoding_t=1,
            cond_aug=0.0,
            force_uc_zero_embeddings=["cond_frames", "audio_emb"],
            chunk_size=2,
            add_zero_flag=True,
            n_batch=3,
            n_batch_keyframes=3,
            extra_audio="None",
            audio_emb_type="hubert",
            recompute=True,
            hubert_model=self.hubert,
            wavlm_model=self._hear,
            vae_model=self.wrapped,
            landmarks_model=Landmarks(),
        )

    def _hear(self, frames: torch.Tensor) -> torch.Tensor:
        """WavLM as the original's wrapper calls it: two rows a frame."""
        count = frames.shape[1]
        rows = self.wavlm.extract_features(frames.flatten(1))[0]
        twice = F.interpolate(rows.permute(0, 2, 1), count * 2, mode="nearest").permute(0, 2, 1)
        return twice.reshape(len(twice), count, 2, -1)


class Sampler:
    """A stage's sampler, timed; keeps what interpolation gives."""

    sampled: ClassVar[dict[str, int]] = {}
    latents: ClassVar[list[torch.Tensor]] = []
    expected = 0

    def __init__(self, stage: str, sampler: Any) -> None:
        self.stage, self.sampler, self.guider = stage, sampler, sampler.guider

    def __call__(self, *arguments: Any, **options: Any) -> torch.Tensor:
        with timed(self.stage):
            latents: torch.Tensor = self.sampler(*arguments, **options)
        self.sampled[self.stage] = self.sampled.get(self.stage, 0) + 1
        return latents


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the original prints does not mix with the answers
    torch.set_num_threads(JOB["threads"])
    original = Original()
    for line in sys.stdin:
        answer = original.dub() if line.strip() == "dub" else original.make()
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
