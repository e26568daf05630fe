"""Every kind of file that is read: how a tiny valid one is written, damaged, and read to its end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from keysync.face.landmarks_file import read_landmarks_file
from keysync.face.sam2_weights import load_sam2
from keysync.media.audio import AudioReader, hear, read_speech
from keysync.media.reader import VideoReader
from keysync.network.stage import Stage, StageSpec
from keysync.network.unet import UNetConfig
from keysync.speech.encoders import load_encoder
from keysync.systems.flashlips.bundle import PARTS, open_bundle, save_bundle
from keysync.systems.flashlips.presets import PRESETS
from keysync.systems.keyface.emotion import Emotion
from keysync.vae.vae import load_vae
from keysync.weights.checkpoint import load_stage, save_stage
from keysync.weights.describe import describe
from keysync.weights.files import read_tensors

from ..synthetic_face import face_points
from ..tiny_keyface import write_beats
from ..tiny_sam2 import write_tiny_sam2
from . import mutations, tells
from .mutations import damaged_archive, damaged_bytes, damaged_json, damaged_lines, damaged_safetensors, damaged_text


@dataclass(frozen=True)
class Kind:
    """`write` fills an empty folder and returns the file to damage; `read` reads what is in the folder, to its end.

    `untold`: whether nothing in damaged bytes tells of the damage (see `tells`). If something does, what is read must
    be an error, the same as before, or noted as damaged. None for a kind in which nothing can tell.
    """

    write: Callable[[Path], Path]
    damage: Callable[[bytes, Random], bytes]
    read: Callable[[Path], Any]
    untold: Callable[[bytes], bool] | None = None


# A hole of so many pictures is also a pause of a variable frame rate.
FEW_PICTURES = 2


@dataclass(frozen=True, eq=False)
class Read:
    """What was read: tensors by name, how many pictures, and the notes of damage."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()
    pictures: int = 0


def _stage(path: Path) -> Path:
    """A stage of one level and 32 channels, which is built in a moment."""
    unet = UNetConfig(8, 32, (1,), (True,), num_res_blocks=1, head_dim=16, context_dim=8)
    save_stage(Stage(StageSpec("keyframe", unet, 8, (4, 4), 3, "hubert")), path, dtype=torch.float16)
    return path


def _pickled(path: Path, content: Any, *, old: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    return path


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _beats(folder: Path) -> Path:
    cfg = {"max_distance": 800, "deep_norm": True, "activation_fn": "gelu", "gru_rel_pos": True}
    return _pickled(folder / "beats.pt", {"cfg": cfg, "model": _tensors(write_beats(folder / "b.safetensors"))})


def _tensors(path: Path) -> dict[str, Tensor]:
    held = load_file(path)
    path.unlink()
    return held


def _read_stage(path: Path) -> dict[str, Tensor]:
    tensors, _ = read_tensors(path)
    digest = {name: tensor.clone() for name, tensor in tensors.items()}
    str(describe(path))
    load_stage(path, head_dim=16, latent_size=(4, 4))
    return digest


def _flashlips(folder: Path) -> Path:
    spec = PRESETS["tiny-transformer"]
    path = folder / "flashlips.safetensors"
    save_bundle(path, spec, {name: part.build(spec.networks) for name, part in PARTS.items()}, dtype=torch.float16)
    return path


def _read_flashlips(folder: Path) -> dict[str, Tensor]:
    bundle = open_bundle(folder / "flashlips.safetensors")
    return {
        f"{name}.{key}": tensor
        for name in bundle.parts.keys() & PARTS.keys()
        for key, tensor in bundle.load(name).state_dict().items()
    }


def _encoder(folder: Path, name: str) -> Path:
    """An encoder of one layer and 16 channels with its config.json."""
    import transformers

    kind = {"hubert": "Hubert", "wavlm": "WavLM"}[name]
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=16,
        conv_dim=(4,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    config.save_pretrained(folder)
    model = getattr(transformers, f"{kind}Model")(config)
    save_file({key: value.clone() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    return folder / "model.safetensors"


def _microsoft(folder: Path) -> Path:
    """WavLM in Microsoft's layout: names of their own, and settings in the pickle."""
    backwards = {
        "masked_spec_embed": "mask_emb",
        "feature_projection.layer_norm.": "layer_norm.",
        "feature_projection.projection.": "post_extract_proj.",
        "encoder.pos_conv_embed.conv.parametrizations.weight.original0": "encoder.pos_conv.0.weight_g",
        "encoder.pos_conv_embed.conv.parametrizations.weight.original1": "encoder.pos_conv.0.weight_v",
        "encoder.pos_conv_embed.conv.": "encoder.pos_conv.0.",
    }
    renamed = {}
    for name, tensor in _tensors(_encoder(folder, "wavlm")).items():
        for ours, theirs in backwards.items():
            if name.startswith(ours):
                name = theirs + name.removeprefix(ours)
        name = name.replace(".attention.gru_rel_pos_const", ".self_attn.grep_a")
        name = name.replace(".attention.gru_rel_pos_linear.", ".self_attn.grep_linear.")
        name = name.replace(".attention.rel_attn_embed.", ".self_attn.relative_attention_bias.")
        name = name.replace(".layer_norm.", ".self_attn_layer_norm.") if ".layers.0.layer" in name else name
        name = name.replace(".attention.", ".self_attn.").replace(".feed_forward.intermediate_dense.", ".fc1.")
        renamed[name.replace(".feed_forward.output_dense.", ".fc2.")] = tensor
    convolutions = {".conv.": ".0.", ".layer_norm.": ".2."}
    for old, new in convolutions.items():
        renamed = {name.replace(old, new) if "conv_layers" in name else name: t for name, t in renamed.items()}
    shutil.rmtree(folder)
    folder.mkdir()
    return _pickled(folder / "WavLM.pt", {"cfg": {"normalize": False, "max_distance": 800}, "model": renamed})


def _read_microsoft(folder: Path) -> Any:
    return load_encoder("wavlm", folder / "WavLM.pt").model.state_dict()


def _sam2_beside(folder: Path) -> Path:
    """SAM 2 with a config.json next to it, which is the file to damage."""
    from safetensors import safe_open

    file = write_tiny_sam2(folder / "sam2.safetensors")
    with safe_open(file, "pt") as opened:
        (folder / "config.json").write_text(opened.metadata()["config"])
    save_file(load_file(file), file)
    return folder / "config.json"


def _vae(folder: Path) -> Path:
    from diffusers import AutoencoderKLTemporalDecoder

    vae = AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D",), block_out_channels=(32,), layers_per_block=1
    )
    save_file(vae.state_dict(), folder / "diffusion_pytorch_model.safetensors")
    return folder / "diffusion_pytorch_model.safetensors"


def _landmarks(folder: Path) -> Path:
    frames = [None, *([face_points((160.0, 120.0), 100).round(2).tolist()] * 3)]
    (folder / "face.json").write_text(json.dumps({"fps": 25.0, "size": [320, 240], "frames": frames}))
    return folder / "face.json"


def _read_landmarks(folder: Path) -> dict[str, Tensor]:
    found = read_landmarks_file(folder / "face.json", size=(240, 320), frames=4)
    faces = {
        str(number): torch.zeros(0) if points is None else torch.from_numpy(points)
        for number, points in enumerate(found.frames)
    }
    return {**faces, "fps": torch.tensor(found.fps)}


# Media: a second at most, small, with sound and pictures.


def _sound(folder: Path, name: str, codec: str) -> Path:
    from ..media.test_audio import tones, write_sound

    return write_sound(folder / name, tones(0.5, 16000), 16000, codec)


def _video(folder: Path, name: str, codec: str, sound: str | None, pixels: str = "yuv420p") -> Path:
    import av

    path = folder / name
    with av.open(str(path), "w") as container:
        pictures: Any = container.add_stream(codec, rate=25, width=64, height=48, pix_fmt=pixels)
        voice: Any = container.add_stream(sound, rate=16000, layout="mono") if sound else None
        rng = np.random.default_rng(0)
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        if voice is not None:
            wave = av.AudioFrame.from_ndarray(rng.uniform(-0.5, 0.5, (1, 6400)).astype(np.float32), "fltp", "mono")
            wave.sample_rate, wave.pts, wave.time_base = 16000, 0, Fraction(1, 16000)
            container.mux(voice.encode(wave))
            container.mux(voice.encode(None))
    return path


def _read_video(path: Path, sound: bool) -> Read:
    reader = VideoReader(path)
    stamps = reader.timestamps()
    frames = [frame for _, frame in reader.frames()]
    assert {frame.shape for frame in frames} == {(reader.info.height, reader.info.width, 3)}
    assert len(frames) == len(stamps)
    list(reader.pick(stamps, [len(stamps) - 1, 0]))
    facts = reader.facts()
    if sound and reader.info.has_audio:
        read_speech(path)
    told = {"damaged": facts.damaged, "undecoded": facts.undecoded, "promised": facts.promised is not None}
    return Read({}, tuple(name for name, found in told.items() if found), len(frames))


def _read_sound(path: Path) -> Read:
    reader = AudioReader(path)
    blocks = list(reader.blocks())
    assert all(block.dtype == np.float32 for block in blocks)
    heard = hear(path)
    samples = torch.from_numpy(np.concatenate(blocks, axis=1))
    return Read(
        {"samples": samples, "rate": torch.tensor(reader.rate), "heard": heard.samples}, (*reader.notes, *heard.notes)
    )


# Training's own files.


def _data(folder: Path) -> Path:
    from ..training.small_data import write_small_data

    write_small_data(folder / "data", clips=1, frames=20, latent_size=(4, 4), channels=4)
    return folder / "data" / "index.json"


def _shard(folder: Path) -> Path:
    _data(folder)
    return next((folder / "data").glob("*.tar"))


def _read_data(folder: Path) -> dict[str, Tensor]:
    from training.data.index import SPLITS
    from training.data.parts import LANDMARKS, LATENTS
    from training.data.shards import Shards

    held = {}
    shards = Shards(folder / "data")
    for split in SPLITS:
        for clip in shards.clips(split):
            for part, shape in (
                (LATENTS, (clip.frames, 2, 4, *shards.latent_size)),
                (LANDMARKS, (clip.frames, 68, 2)),
                ("hubert.npy", (2 * clip.frames, shards.channels("hubert"))),
            ):
                held[f"{split} {clip.key} {part}"] = torch.from_numpy(np.array(shards.array(clip, part, shape)))
            held[f"{split} {clip.key}"] = torch.from_numpy(shards.picture(clip, clip.frames - 1))
    return held


def _manifest(folder: Path) -> Path:
    from training.data.digest import of_file
    from training.data.preparation.manifest import NAME, Manifest
    from training.data.preparation.videos import Source

    for number in range(3):
        (folder / f"{number}.mp4").write_bytes(bytes((number,)) * 100)
        source = Source(f"{number}.mp4", folder / f"{number}.mp4")
        Manifest(folder).add(source, of_file(source.path))
    return folder / NAME


def _read_manifest(folder: Path) -> None:
    from training.data.preparation.manifest import Manifest
    from training.data.preparation.videos import Source

    manifest = Manifest(folder)
    for number in range(3):
        manifest.known(Source(f"{number}.mp4", folder / f"{number}.mp4"))


def _config(folder: Path) -> Path:
    from training.config.config import to_toml

    from ..training.small_config import small_config

    (folder / "config.toml").write_text(to_toml(small_config("keyframe")))
    return folder / "config.toml"


def _read_config(folder: Path) -> None:
    from training.config.config import load_config

    load_config(None, folder / "config.toml", {})


def _log(folder: Path) -> Path:
    lines = [json.dumps({"step": step, "loss": 0.5 / step, "learning_rate": 1e-5}) for step in range(1, 9)]
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "log.jsonl"


def _read_log(folder: Path) -> None:
    from training.run.run import Run

    run = Run(folder)
    run.forget_after(4)
    run.logged()


def _table(folder: Path) -> Path:
    from training.data.table import Clip, Table

    clips = [
        Clip(f"train-{n % 2:06}.tar", f"clip-{n}", 20 + n, {"mp4": (512, 900 + n), "json": (2048, 99)}, {"mp4": n})
        for n in range(6)
    ]
    Table.of(clips, {"train-000000.tar": 4096, "train-000001.tar": 4096}).save(folder / "train-000000.safetensors")
    return folder / "train-000000.safetensors"


def _read_table(folder: Path) -> None:
    """What a preparation does with a table, and every row."""
    from training.data.table import Clips, Table

    table = Table.open(folder / "train-000000.safetensors")
    if len(list(table.names())) == len(table):
        rest = table.without(list(table.shards)[:1])
        Table.joined([rest, table]).save(folder / "joined.safetensors")
    for clip in Clips([table, table]):
        assert clip.frames > 0


def _people(folder: Path) -> Path:
    return _written(folder / "people.json", json.dumps({"anna": "train", "bea": "validation", "film-01ab": "train"}))


def _read_people(folder: Path) -> None:
    from training.data.preparation.split import read_people
    from training.data.store import Folder

    read_people(Folder(folder))


def _lines(path: Path, rows: Sequence[Any]) -> Path:
    return _written(path, "".join(json.dumps(row) + "\n" for row in rows))


def _history(folder: Path) -> Path:
    rows = [
        {"time": "2026-11-30T12:00:00+00:00", "step": step, "clips": 4 * step, "processes": 1 + step % 2}
        | {"clips_per_step": 4, "changed": {"steps": [step, step + 2]}}
        for step in (0, 2, 4, 6)
    ]
    return _lines(_begun(folder) / "history.jsonl", rows)


def _validation(folder: Path) -> Path:
    rows = [
        {"step": step, "clips": 4 * step, "loss": 0.5 / step, "loss_at_1": 0.1, "mouth_correlation": 0.5}
        for step in range(1, 7)
    ]
    return _lines(_begun(folder) / "validation.jsonl", rows)


def _quarantine(folder: Path) -> Path:
    rows = [{"shard": f"train-{n:06}.tar", "clip": f"clip-{n}", "why": "its checksum differs"} for n in range(4)]
    return _lines(_begun(folder) / "quarantine.jsonl", rows)


def _begun(folder: Path) -> Path:
    """A run with its settings, and a checkpoint of step 4 that nothing reads."""
    _config(folder)
    (folder / "checkpoints" / "step-000004").mkdir(parents=True)
    return folder


def _read_run(folder: Path) -> None:
    """What a run's files tell those who export it, write its card, and resume it."""
    from training.run.card import card
    from training.run.quarantine import Quarantine
    from training.run.run import Run

    run = Run(folder)
    run.best()
    card(run, 4, "a stage", "my.safetensors", {})
    list(Quarantine(run, 100).lines())
    run.forget_after(4)
    run.validated()


def _votes(folder: Path) -> Path:
    from training.evaluation.benchmark.votes import VOTES, add_vote

    for number, choice in enumerate(("left", "right", "neither", "left")):
        add_vote(folder / VOTES, ("silence", f"clip-{number}", "rewrite", "keysync"), choice)
    return folder / VOTES


def _read_votes(folder: Path) -> None:
    from training.evaluation.benchmark.elo import elo
    from training.evaluation.benchmark.votes import VOTES, read_votes

    elo(read_votes(folder / VOTES))


KINDS: dict[str, Kind] = {
    "stage, safetensors": Kind(
        lambda folder: _stage(folder / "stage.safetensors"),
        damaged_safetensors,
        lambda folder: _read_stage(folder / "stage.safetensors"),
        untold=tells.safetensors,
    ),
    "stage, pickle": Kind(
        lambda folder: _pickled(folder / "stage.pt", {"module": _tensors(_stage(folder / "s.safetensors"))}),
        damaged_archive,
        lambda folder: _read_stage(folder / "stage.pt"),
        untold=tells.archive,
    ),
    "stage, Lightning's pickle": Kind(
        lambda folder: _pickled(
            folder / "stage.ckpt",
            {"state_dict": _tensors(_stage(folder / "s.safetensors")), "epoch": 3, "hyper_parameters": {"a": [1, 2.0]}},
        ),
        damaged_archive,
        lambda folder: _read_stage(folder / "stage.ckpt"),
        untold=tells.archive,
    ),
    "stage, old pickle": Kind(
        lambda folder: _pickled(folder / "stage.bin", _tensors(_stage(folder / "s.safetensors")), old=True),
        lambda content, random: (
            damaged_bytes(content, random) if random.random() < 0.5 else _in_the_program(content, random)
        ),
        lambda folder: _read_stage(folder / "stage.bin"),
    ),
    **{
        f"{name}, {file}": Kind(
            lambda folder, name=name, file=file: _encoder(folder, name).with_name(file),  # type: ignore[misc]
            damaged_json if file == "config.json" else damaged_safetensors,
            lambda folder, name=name: load_encoder(name, folder).model.state_dict(),  # type: ignore[misc]
            untold=None if file == "config.json" else tells.safetensors,
        )
        for name in ("hubert", "wavlm")
        for file in ("config.json", "model.safetensors")
    },
    "hubert, pytorch_model.bin": Kind(
        lambda folder: _pickled(folder / "pytorch_model.bin", _tensors(_encoder(folder, "hubert"))),
        damaged_archive,
        lambda folder: load_encoder("hubert", folder).model.state_dict(),
        untold=tells.archive,
    ),
    "wavlm, Microsoft's pickle": Kind(_microsoft, damaged_archive, _read_microsoft, untold=tells.archive),
    "BEATs, Microsoft's pickle": Kind(
        _beats,
        damaged_archive,
        lambda folder: load_encoder("beats", folder / "beats.pt").model.state_dict(),
        untold=tells.archive,
    ),
    "emotion, CSV": Kind(
        lambda folder: _written(folder / "curve.csv", "seconds,valence,arousal\n0,0,0.5\n1.5,-1,0.25\n2,1,0\n"),
        damaged_text,
        lambda folder: Emotion.read(folder / "curve.csv"),
    ),
    "emotion, JSON": Kind(
        lambda folder: _written(
            folder / "curve.json", json.dumps([{"seconds": n, "valence": 0.5, "arousal": -0.5} for n in range(3)])
        ),
        damaged_json,
        lambda folder: Emotion.read(folder / "curve.json"),
    ),
    "SAM 2, safetensors": Kind(
        lambda folder: write_tiny_sam2(folder / "sam2.safetensors"),
        damaged_safetensors,
        lambda folder: load_sam2(folder / "sam2.safetensors").state_dict(),
        untold=tells.safetensors,
    ),
    "SAM 2, config.json": Kind(_sam2_beside, damaged_json, lambda folder: load_sam2(folder / "sam2.safetensors")),
    "FlashLips, safetensors": Kind(_flashlips, damaged_safetensors, _read_flashlips, untold=tells.safetensors),
    "VAE, safetensors": Kind(
        _vae, damaged_safetensors, lambda folder: load_vae(folder).state_dict(), untold=tells.safetensors
    ),
    "VAE, pickle": Kind(
        lambda folder: _pickled(folder / "diffusion_pytorch_model.bin", _tensors(_vae(folder))),
        damaged_archive,
        lambda folder: load_vae(folder).state_dict(),
        untold=tells.archive,
    ),
    "landmarks": Kind(_landmarks, damaged_json, _read_landmarks, untold=tells.landmarks),
    "training, index": Kind(_data, damaged_json, _read_data),
    "training, shard": Kind(_shard, damaged_bytes, _read_data, untold=tells.anything),
    "training, manifest": Kind(_manifest, damaged_lines, _read_manifest),
    "training, config": Kind(_config, damaged_text, _read_config),
    "training, log": Kind(_log, damaged_lines, _read_log),
    "training, table of clips": Kind(_table, damaged_safetensors, _read_table),
    "training, people": Kind(_people, damaged_json, _read_people),
    "training, history": Kind(_history, damaged_lines, _read_run),
    "training, validation": Kind(_validation, damaged_lines, _read_run),
    "training, quarantine": Kind(_quarantine, damaged_lines, _read_run),
    "votes": Kind(_votes, damaged_text, _read_votes),
    **{
        f"video, {name}": Kind(
            lambda folder, name=name, made=made: _video(folder, f"video.{name}", *made),  # type: ignore[misc]
            damaged_bytes,
            lambda folder, name=name, sound=made[1]: _read_video(folder / f"video.{name}", bool(sound)),  # type: ignore[misc]
            untold=tells.anything if name == "mp4" else None,
        )
        for name, made in {
            "mp4": ("libx264", "aac"),
            "mkv": ("mpeg4", "libmp3lame"),
            "gif": ("gif", None, "rgb8"),
            "mov": ("mjpeg", "pcm_s16le", "yuvj420p"),
            "ts": ("libx264", "aac"),
        }.items()
    },
    **{
        f"sound, {name}": Kind(
            lambda folder, name=name, codec=codec: _sound(folder, f"speech.{name}", codec),  # type: ignore[misc]
            damaged_bytes,
            lambda folder, name=name: _read_sound(folder / f"speech.{name}"),  # type: ignore[misc]
            untold={"wav": tells.wave, "flac": tells.anything, "ogg": tells.anything}.get(name),
        )
        for name, codec in {"wav": "pcm_s16le", "ogg": "libopus", "mp3": "libmp3lame", "flac": "flac"}.items()
    },
}


def _in_the_program(content: bytes, random: Random) -> bytes:
    """Damage in the pickles at the beginning of a file in PyTorch's old format, which tensors follow."""
    end = content.rindex(b"cpuq") + 200 if b"cpuq" in content else 1000
    return mutations.damaged_pickle(content[:end], random) + content[end:]


def same(one: Any, other: Any) -> bool:
    """Whether two results of reading are the same tensors, or the first is noted as damaged where the other is not."""
    if isinstance(one, Read):
        few = abs(one.pictures - other.pictures) <= FEW_PICTURES
        return bool(set(one.notes) - set(other.notes)) or (few and same(one.tensors, other.tensors))
    return bool(one.keys() == other.keys()) and all(torch.equal(one[name], other[name]) for name in one)


def names(chosen: Sequence[str] = ()) -> list[str]:
    """The kinds whose names contain one of the texts; all without any."""
    return [name for name in KINDS if not chosen or any(text in name for text in chosen)]
