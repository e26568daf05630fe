"""What a step of FlashLips' parts costs at full size: see `training.cost`.

Counted are the networks and the VAE, which hides mouths and decodes what was drawn; networks of hooks are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from keysync.method import LATENT_CHANNELS
from keysync.systems.flashlips.bundle import PARTS
from keysync.systems.flashlips.presets import PRESETS

from ..loss.loss import decoded
from ..run.counting import Cost, counted, full_decoder, full_encoder, step_memory
from .config import AUDIO, EDITOR, REFINE, VECTOR

if TYPE_CHECKING:
    from keysync.systems.flashlips.spec import FlashLipsSpec

    from .config import FlashLipsConfig


def measure(config: FlashLipsConfig) -> Cost:
    """The cost of a step of the networks that the settings name; needs little memory and no GPU."""
    spec, count = PRESETS[config.network], config.batch_size
    with FakeTensorMode():
        trained, frozen, loss = STEPS[config.stage](config, spec, count)
        held = [parameter for part in (*trained, *frozen) for parameter in part.parameters()]
        for part in frozen:
            part.requires_grad_(False)
        numbers = sum(parameter.numel() for part in trained for parameter in part.parameters())

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=config.precision != "fp32"):
                total = loss()
            total.backward()

        memory = step_memory(step, held, numbers)
        for part in trained:
            part.zero_grad()
        flops = counted(step) / count
    return Cost(flops, config.precision, memory, sum(parameter.numel() for parameter in held), numbers)


# Of a part: its trained networks, frozen ones, and the loss.
Step = tuple[Sequence[nn.Module], Sequence[nn.Module], Callable[[], Tensor]]


def _drawing(config: FlashLipsConfig, spec: FlashLipsSpec, count: int) -> Step:
    """The editor learns with the lips vector, or, refined, from a frozen copy of both."""
    refines = config.stage == REFINE
    editor, lips, teacher = (cast("Any", PARTS[name].build(spec.networks)) for name in ("editor", "lips", "editor"))
    encoder, decoder = full_encoder(), full_decoder() if config.compares_pixels else None
    (height, width), latent = spec.image_size, torch.zeros(count, LATENT_CHANNELS, *spec.latent_size)
    pictures, points = torch.zeros(count, 3, height, width), torch.zeros(count, 68, 2)
    mask, references = latent[:, :1], latent[:, None].expand(-1, config.references, -1, -1, -1)

    def loss() -> Tensor:
        with torch.no_grad():
            encoder(pictures)
            if refines:
                vector = lips(pictures, points)
                lips(pictures, points)
                teacher(latent, mask, teacher.references(references), vector)
        if not refines:
            vector = lips(pictures, points)
        drawn = editor(latent, None if refines else mask, editor.references(references), vector).float()
        error: Tensor = drawn.abs().mean()
        if decoder is not None:
            error = error + decoded(decoder, drawn[: config.decoded or count]).float().abs().mean()
        return error

    held = (encoder, *(() if decoder is None else (decoder,)))
    return ((editor,), (lips, teacher, *held), loss) if refines else ((editor, lips), held, loss)


def _vector(config: FlashLipsConfig, spec: FlashLipsSpec, count: int) -> Step:
    reader, lips = (PARTS[name].build(spec.networks) for name in ("reader", "lips"))
    pictures, points = torch.zeros(count, 3, *spec.image_size), torch.zeros(count, 68, 2)

    def loss() -> Tensor:
        with torch.no_grad():
            true = lips(pictures, points)
        error: Tensor = (reader(pictures) - true).abs().mean()
        return error

    return (reader,), (lips,), loss


def _audio(config: FlashLipsConfig, spec: FlashLipsSpec, count: int) -> Step:
    speech, heard = PARTS["speech"].build(spec.networks), spec.networks.speech
    z, time = torch.zeros(count, heard.window, spec.networks.lips.width), torch.zeros(count)
    rows, source = torch.zeros(count, heard.window, 2, heard.speech), z[:, : spec.sources]

    def loss() -> Tensor:
        error: Tensor = speech(z, time, rows, source).float().square().mean()
        return error

    return (speech,), (), loss


STEPS: dict[str, Callable[[FlashLipsConfig, FlashLipsSpec, int], Step]] = {
    EDITOR: _drawing,
    REFINE: _drawing,
    VECTOR: _vector,
    AUDIO: _audio,
}
