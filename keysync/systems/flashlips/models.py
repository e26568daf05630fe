"""FlashLips as a renderer: loads its file, surveys a clip for references, draws spans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import KeySyncError
from ...face.mesh import MeshReader
from ...method import LATENT_CHANNELS, PIXELS_PER_LATENT
from ...network.noise import stream
from ...network.peak import is_on_cpu
from ...speech.context import CHANNELS as WHISPER_CHANNELS
from ...speech.ears import CHANNELS as EARS_CHANNELS
from ...speech.encoders import ENCODERS, load_encoder
from ...speech.whisper import WEIGHTS as WHISPER
from ...vae.vae import VAE, load_vae
from ...weights.digest import weights_digest
from ..given import GivenCurve
from ..keysync.models import stamp
from ..keysync.small import BUILT_IN, SMALL
from ..renderer import Clock, Given, Hearing, Look, Needs, OnStep, Renderer, Rendering, Results, UnsuitableError
from .bundle import Bundle, open_bundle
from .edit import frames_a_call
from .editor import Editor
from .person import Gallery, Person, Seen, choose
from .render import CPU_FRAMES, Run, render, speech_evaluations
from .resnet import ResNet
from .settings import Drawing
from .small import FLASHLIPS_SMALL, TITLE, built_in_vae
from .spec import SYSTEM, FlashLipsSpec
from .speech_to_lips import SpeechToLips
from .vectors import LipsVectors

if TYPE_CHECKING:
    from ..keysync.models import HostVAE
    from .stream import FlashLipsStream


@dataclass(frozen=True)
class BuiltIn:
    """An encoder that is built in: the channels of its rows, what people call it, and its file."""

    channels: int
    title: str
    file: Path


BUILT_IN_ENCODERS = {
    "whisper": BuiltIn(WHISPER_CHANNELS, "Whisper tiny.en, built in", WHISPER),
    "hubert": BuiltIn(EARS_CHANNELS, BUILT_IN, SMALL["hubert"]),
}
# Seconds that drawing a frame with the small editor takes on one core of a CPU, and that a small VAE takes to encode
# and decode it; others take as much more as they have weights and pixels.
SMALL_EDIT, SMALL_FRAME, SMALL_WORK = 0.012, 0.06, 5.5e6 * 128 * 128


@dataclass(frozen=True)
class FlashLips:
    """A `Renderer` that draws once it has surveyed the clip.

    `people` are those of a surveyed clip, by shot. `encoders` hears speech; where it is `Given`, its rows are lips
    vectors and `speech` is not used. `facts` are what the file says of itself, by name. `device` is where pictures
    are; `place` is called before the networks work: a host may have put them aside; `host` is what decides besides
    files, settings and code what the networks give, None where it has no name. `work` keeps what they made.
    """

    spec: FlashLipsSpec
    editor: Editor
    reader: ResNet
    speech: SpeechToLips
    vae: VAE | HostVAE
    encoders: Mapping[str, Hearing]
    device: torch.device = field(default_factory=partial(torch.device, "cpu"))
    origins: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    people: Mapping[int, Person] = field(default_factory=dict)
    place: Callable[[], None] = lambda: None
    system: str = SYSTEM
    host: str | None = ""
    work: Results | None = None

    def __post_init__(self) -> None:
        """Raises `KeySyncError` for a VAE or a speech encoder of another kind than the networks were trained with."""
        if self.vae.encoder is None:
            raise KeySyncError(
                f"{self.vae.source} contains only the decoder of a VAE: expected a complete VAE", about="vae"
            )
        if self.vae.downscale != PIXELS_PER_LATENT:
            raise KeySyncError(
                f"{self.vae.source} is a VAE with {self.vae.downscale} pixels per latent but FlashLips expects "
                f"{PIXELS_PER_LATENT}: use the VAE that it was trained with",
                about="vae",
            )
        name, wanted = self.spec.speech_encoder, self.spec.networks.speech.speech
        if name not in self.encoders:
            raise KeySyncError(f"FlashLips needs the {name} speech encoder, which is missing: load {name}", about=name)
        channels = getattr(self.encoders[name], "channels", wanted)
        if channels != wanted:
            raise KeySyncError(
                f"FlashLips expects {wanted} speech channels but {name} provides {channels}: use the {name} that it "
                "was trained with",
                about=name,
            )

    @property
    def given(self) -> bool:
        """Whether lips vectors are given instead of speech."""
        return isinstance(self.encoders[self.spec.speech_encoder], Given)

    @property
    def needs(self) -> Needs:
        return Needs(self.spec.image_size, self.spec.crop_scale, self.spec.mask, (self.spec.speech_encoder,))

    def evaluations(self, frames: int, settings: Drawing | None) -> int:
        """The editor's, one for each frame, and those of the speech transformer."""
        steps = (settings or Drawing()).settled(self.spec).steps
        return frames + speech_evaluations(steps, frames, self)

    def remarks(self, settings: Drawing | None) -> Iterator[str]:
        """See `Remarking`."""
        settled = (settings or Drawing()).settled(self.spec)
        lips = "given lips vectors" if self.given else f"lips made in steps: {settled.steps}"
        mouth = "without a mask" if settled.mask_free else "into a hidden mouth"
        yield f"drawn {mouth}; references of the clip, at most: {settled.references}; {lips}"
        if self.files.get(SYSTEM) == FLASHLIPS_SMALL:
            yield "FlashLips small is trained on rendered faces only: real faces need a FlashLips of your own training"
        if self.facts.get("keysync.untrained") == "true":
            yield "the FlashLips file is untrained: its pictures mean nothing"
        if settled.mask_free and not self.spec.mask_free:
            yield "the editor was not refined to work without a mask: the source's own mouth may stay"

    @property
    def seconds_per_evaluation(self) -> float:
        """See `Costed`; most evaluations are the editor's."""
        weights = sum(parameter.numel() for parameter in self.editor.parameters())
        return SMALL_EDIT * weights * self._pixels / SMALL_WORK

    @property
    def seconds_per_frame(self) -> float:
        """See `Costed`: the VAE's, by the pixels, as its width is unknown."""
        return SMALL_FRAME * self._pixels / 128**2

    @property
    def _pixels(self) -> int:
        height, width = self.spec.image_size
        return height * width

    def bytes_to_draw(self, crop: tuple[int, int], settings: Drawing | None) -> int:
        """See `Weighed`: pictures that are drawn together, and the larger of the networks' activations where they are
        here."""
        pictures = 4 * 4 * 3 * CPU_FRAMES * self._pixels
        size = self.spec.latent_size
        each = [
            self.editor.peak_bytes(frames_a_call(self.editor, size, CPU_FRAMES), size) if is_on_cpu(self.editor) else 0,
            self.vae.peak_bytes(crop) if isinstance(self.vae, VAE) and is_on_cpu(self.vae) else 0,
        ]
        return pictures + max(each)

    def work_causes(self, settings: Drawing | None) -> list[Any] | None:
        """See `Resumable`. References follow from the clip, and are made anew."""
        if self.host is None or SYSTEM not in self.files:
            return None
        like = next(self.editor.parameters())
        kind = [self.host or str(like.device), str(like.dtype)]
        heard = [stamp(file) for name, file in sorted(self.files.items()) if name not in (SYSTEM, "vae")]
        file = stamp(self.files[SYSTEM])
        settled = (settings or Drawing()).settled(self.spec)
        return [self.system, kind, file, self.vae.encoder_digest(), heard, repr(settled)]

    def bytes_to_keep(self, frames: int) -> int:
        """See `Resumable`: the latents that the editor makes."""
        height, width = self.spec.latent_size
        return frames * 4 * LATENT_CHANNELS * height * width

    def continuing(self, work: Results) -> FlashLips:
        """See `Resumable`."""
        return replace(self, work=work)

    @property
    def key(self) -> str:
        """The same for FlashLips whose lips vectors mean the same: by their reader."""
        return weights_digest(self.reader)

    def following(self, vectors: LipsVectors) -> FlashLips:
        """This renderer with lips that follow vectors instead of the speech. Raises `KeySyncError` for those of another
        file."""
        vectors.want_model(self.key)
        name = self.spec.speech_encoder
        origins = {key: origin for key, origin in self.origins.items() if key != name}
        return replace(self, encoders={name: GivenCurve(vectors)}, origins={**origins, "lips": "given lips vectors"})

    def survey(self, looks: Iterator[Look], note: Callable[[str], None]) -> Renderer:
        """This renderer with the references of a clip. Raises `UnsuitableError` for a clip without a face."""
        return replace(self, people=self.meet_all(looks, note))

    def meet_all(self, looks: Iterator[Look], note: Callable[[str], None]) -> dict[int, Person]:
        """The person of each shot; see `survey`."""
        people: dict[int, Person] = {}
        shot, gallery = None, Gallery()
        for look in looks:
            if look.shot != shot:
                self._close(people, shot, gallery)
                shot, gallery = look.shot, Gallery()
            if gallery.takes_next():
                gallery.add(Seen.of(look.number, look.crop, look.mask))
        self._close(people, shot, gallery)
        if not people:
            raise UnsuitableError("no frame shows the face: there is nothing to take references from")
        alone = sum(len(person.numbers) == 1 for person in people.values())
        if alone:
            note(f"{alone} shots have a single frame with the face, which is its own reference")
        return people

    def _close(self, people: dict[int, Person], shot: int | None, gallery: Gallery) -> None:
        if shot is not None:
            people[shot] = self.meet(gallery.seen)

    @torch.no_grad()
    def meet(self, seen: Sequence[Seen]) -> Person:
        """The person of a shot, of which these frames were seen, at least one."""
        chosen = choose(MeshReader(self.device), seen)
        latents = self.vae.encode(torch.stack([one.picture for one in chosen]).to(self.device))
        return Person([one.number for one in chosen], latents.cpu(), self.read([one.crop for one in seen]))

    @torch.no_grad()
    def read(self, crops: Sequence[Tensor]) -> Tensor:
        """The lips vectors (n, width), float32 on the CPU, of crops (H, W, 3) uint8."""
        self.place()
        like = next(self.reader.parameters())
        read = []
        for start in range(0, len(crops), CPU_FRAMES):
            pictures = torch.stack([*crops[start : start + CPU_FRAMES]]).to(like.device).permute(0, 3, 1, 2)
            read.append(self.reader((pictures.float() / 255).to(like.dtype)).float().cpu())
        return torch.cat(read)

    def begin(self, settings: Drawing | None, seed: int, clock: Clock, on_step: OnStep | None) -> Rendering:
        """See `Renderer`: the seed decides how the lips move."""
        settled = (settings or Drawing()).settled(self.spec)
        return partial(render, Run(self, settled, stream(f"{SYSTEM} {seed}"), clock, on_step))

    def stream(self, settings: Drawing | None, seed: int) -> FlashLipsStream:
        """See `Streaming`: references are those of its person, where it has one, else of the frames that come."""
        from .stream import FlashLipsStream  # here: no dub of a file needs it

        return FlashLipsStream(self, (settings or Drawing()).settled(self.spec), seed)


def load_flashlips(
    file: str | Path | None,
    vae: str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    **encoders: str | Path | None,
) -> FlashLips:
    """Loads a FlashLips file, by default FlashLips small, and the VAE and the speech encoder that it was trained with,
    by name (keys of `ENCODERS`), where they are neither in it nor built in.

    `dtype` is that of all networks but the speech encoder's, else float16 on a GPU and float32 on a CPU. Raises
    `KeySyncError` where a file is missing or is not what it is given as, or where two models do not fit together.
    """
    path = FLASHLIPS_SMALL if file is None else Path(file)
    device, bundle = torch.device(device), open_bundle(path)
    spec, name = bundle.spec, bundle.spec.speech_encoder
    source, heard = vae_file(bundle, vae), encoder_file(spec, encoders.get(name))
    dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
    return FlashLips(
        spec,
        **load_networks(bundle, device, dtype),
        vae=load_vae(source, device, dtype),
        encoders={name: load_encoder(name, heard, device)},
        device=device,
        origins={
            SYSTEM: TITLE if file is None else str(path),
            "vae": BUILT_IN if vae is None and source == SMALL["vae"] else str(source),
            name: str(encoders.get(name) or BUILT_IN_ENCODERS[name].title),
        },
        files={SYSTEM: path, "vae": source, name: heard},
        facts=bundle.metadata,
    )


def load_networks(bundle: Bundle, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """The networks of a file that dubs need, by their names in `FlashLips`. Raises `KeySyncError` for a file whose
    training is not complete."""
    return {part: bundle.load(part, device, dtype) for part in ("editor", "reader", "speech")}


def vae_file(bundle: Bundle, given: str | Path | None) -> Path:
    """The file or folder of the VAE: the given one, else the file itself that has one, else the built-in one where the
    file was trained with that. Raises `KeySyncError` where there is none."""
    file = given or (bundle.path if bundle.has_vae else built_in_vae(bundle.spec))
    if file is None:
        raise KeySyncError(
            f"{bundle.path} has no VAE: load the VAE that it was trained with, {bundle.spec.vae}", about="vae"
        )
    return Path(file)


def encoder_file(spec: FlashLipsSpec, given: str | Path | None) -> Path:
    """The file or folder of the speech encoder: the given one, else the built-in one where that is what is heard.

    Raises `KeySyncError` for an encoder that is not there, and for one of a newer version.
    """
    name = spec.speech_encoder
    if name not in ENCODERS:
        raise KeySyncError(
            f"the FlashLips file needs the {name} speech encoder but this version of KeySync supports "
            f"{', '.join(ENCODERS)}: update KeySync"
        )
    built_in = BUILT_IN_ENCODERS.get(name)
    if given is not None:
        return Path(given)
    if built_in is None or built_in.channels != spec.networks.speech.speech:
        raise KeySyncError(f"FlashLips needs the {name} speech encoder, which is missing: load {name}", about=name)
    return built_in.file
