"""The model card of a run's result, in Markdown with the front matter of the Hugging Face hub.

It says what the run's folder knows and no more: what was not measured is said to be so, and so is a licence that no one
stated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from keysync.network.stage import ALL_STAGES

from ..config.config import PRESETS, load_config, preset_of
from ..config.values import literal
from .run import Run

NOT_STATED = "not stated"
SCORES = {
    "loss": "loss on validation clips",
    "mouth_correlation": "correlation of the mouth's opening with that of the validation clip",
    "speech_correlation": "the same with what the speech asks for, by KeySync's built-in encoder",
}


def card(run: Run, step: int, what: str, file: str, metadata: Mapping[str, str], licence: str = "") -> str:
    """The card of the checkpoint of a step, exported to a file of that name; `what` is its description, `metadata` that
    of its checkpoint, and `licence` an identifier of the hub."""
    return "\n".join(_lines(run, step, what, file, metadata, licence)) + "\n"


def _lines(run: Run, step: int, what: str, file: str, metadata: Mapping[str, str], licence: str) -> Iterator[str]:
    config = run.config()
    yield from ("---", "library_name: keysync", "tags: [lip-sync, video, comfyui]", "pipeline_tag: video-to-video")
    yield from ([f"license: {licence}"] if licence else [])
    yield from (
        "---",
        f"# {run.folder.resolve().name}",
        "",
        f"{what[0].upper()}{what[1:]}, for KeySync for ComfyUI.",
        "",
    )
    yield from ("## Training", "", "| | |", "|---|---|")
    for name, value in {
        "data": metadata.get("keysync.training.data", NOT_STATED),
        "steps": step,
        "clips seen": metadata.get("keysync.training.clips", NOT_STATED),
        "batches": _batches(run) or NOT_STATED,
        "started from": config.start.replace("\\", "/").rpartition("/")[2] or "new weights",
        "trained": {"published": "all but temporal layers", "all": "all weights", "lora": "adapters"}[config.trainable],
        "speech encoder": config.speech_encoder,
        "crops": f"{config.resolution} x {config.resolution} pixels, mask {config.mask}",
        "licence": licence or NOT_STATED,
    }.items():
        yield f"| {name} | {value} |"
    yield from ("", "## Scores", "", *_scores(run, step), "")
    yield from ("## Settings", "", "Those that differ from the stage's preset:", "", "```toml")
    yield from (f"{name} = {literal(value)}" for name, value in _own_settings(run).items())
    yield from (
        "```",
        "",
        "## Use",
        "",
        f"Put `{file}` into ComfyUI's folder of {_folder(config.trainable, what)}.",
        "",
    )
    yield "Use it only on people who agreed to it."


def _batches(run: Run) -> str:
    """The batches of the run, in order: clips of a step, and processes."""
    rows = [(row.get("clips_per_step"), row.get("processes")) for row in run.history()]
    rows = [row for row in rows if all(type(count) is int for count in row)]  # damaged lines may say anything
    return ", then ".join(
        f"{clips} clips on {processes} {'process' if processes == 1 else 'processes'}"
        for clips, processes in dict.fromkeys(rows)
    )


def _scores(run: Run, step: int) -> Iterator[str]:
    rows = [row for row in run.validated() if row["step"] <= step]
    if not rows:
        yield "Not measured: the run had no validation."
        return
    row: dict[str, Any] = rows[-1]
    yield from (f"After step {row['step']}, on the validation clips of the data:", "", "| score | value |", "|---|---|")
    for name, title in SCORES.items():
        yield f"| {title} | {_figure(row.get(name))} |"
    for name, value in row.items():
        if name.startswith("loss_at_"):
            yield f"| loss at noise level {name.removeprefix('loss_at_')} | {_figure(value)} |"


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "not measured"


def _own_settings(run: Run) -> dict[str, Any]:
    config = run.config()
    preset = preset_of(ALL_STAGES[config.stage].name)
    usual = load_config(preset, None, {}) if preset in PRESETS else None
    told = {setting.name: getattr(config, setting.name) for setting in fields(config)}
    return {
        name: value
        for name, value in told.items()
        if name not in ("start", "vae") and (usual is None or value != getattr(usual, name))
    }


def _folder(trainable: str, what: str) -> str:
    return "LoRAs" if trainable == "lora" and what.startswith("LoRA") else "KeySync models (`models/keysync`)"
