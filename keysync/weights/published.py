"""The published weights: what each file is, where it is from and where it belongs.

README's table of models, the download links of the workflow *simple_dub_published* and the command that downloads the
files are all made from `PUBLISHED`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote

HUB = "https://huggingface.co"
AUTHORS, KEYFACE_AUTHORS = "the KeySync authors", "the KeyFace authors"
DERIVED = "not stated; derived from Stable Video Diffusion, whose licence covers derivatives"


@dataclass(frozen=True)
class PublishedFile:
    """A file of the hub: `path` in a revision of a repository, and `name` in the folder `directory` below `models`.

    `input` is the name of the library's input that it is for. `size` is in bytes, and approximate unless `sha256` is
    known too; that is None where no published value is known.
    """

    input: str
    what: str
    name: str
    directory: str
    repository: str
    path: str
    owner: str
    licence: str
    size: int
    revision: str = "main"
    sha256: str | None = None

    @property
    def url(self) -> str:
        """Where a browser downloads it from."""
        return f"{HUB}/{self.repository}/resolve/{quote(self.revision, safe='')}/{quote(self.path)}"

    @property
    def source(self) -> str:
        """The page of its repository."""
        return f"{HUB}/{self.repository}"


VAE = PublishedFile(
    input="vae",
    what="VAE, in half precision",
    name="svd_vae.safetensors",
    directory="vae",
    repository="stabilityai/stable-video-diffusion-img2vid",
    path="vae/diffusion_pytorch_model.fp16.safetensors",
    owner="Stability AI",
    licence="Stability AI's (stable-video-diffusion-community)",
    size=195_531_910,
    sha256="af602cd0eb4ad6086ec94fbf1438dfb1be5ec9ac03fd0215640854e90d6463a3",
)
# The main branches of HuBERT and WavLM hold pickles only. The hub's own bot offers the same tensors as safetensors.
WAVLM = PublishedFile(
    input="wavlm",
    what="speech for interpolation",
    name="wavlm-base-plus.safetensors",
    directory="audio_encoders",
    repository="microsoft/wavlm-base-plus",
    path="model.safetensors",
    owner="Microsoft",
    licence="see its model card",
    size=378_000_000,
    revision="refs/pr/1",
)
PUBLISHED = (
    PublishedFile(
        input="keyframe",
        what="keyframes",
        name="keyframe_dub.pt",
        directory="keysync",
        repository="toninio19/keysync",
        path="checkpoints/keyframe_dub.pt",
        owner=AUTHORS,
        licence=DERIVED,
        size=6_400_000_000,
    ),
    PublishedFile(
        input="interpolation",
        what="interpolation",
        name="interpolation_dub.pt",
        directory="keysync",
        repository="toninio19/keysync",
        path="checkpoints/interpolation_dub.pt",
        owner=AUTHORS,
        licence=DERIVED,
        size=6_400_000_000,
    ),
    VAE,
    PublishedFile(
        input="hubert",
        what="speech for keyframes",
        name="hubert-base-ls960.safetensors",
        directory="audio_encoders",
        repository="facebook/hubert-base-ls960",
        path="model.safetensors",
        owner="Meta AI",
        licence="Apache-2.0",
        size=378_000_000,
        revision="refs/pr/2",
    ),
    WAVLM,
)


def _keyface(input: str, what: str, path: str) -> PublishedFile:
    """A network of KeyFace: all have the layout and the size of KeySync's."""
    return PublishedFile(
        input=input,
        what=what,
        name=path,
        directory="keysync",
        repository="toninio19/keyface",
        path=path,
        owner=KEYFACE_AUTHORS,
        licence=DERIVED,
        size=6_400_000_000,
    )


KEYFACE = (
    _keyface("keyframe", "keyframes", "keyframe.pt"),
    _keyface("interpolation", "interpolation", "interpolation.pt"),
    _keyface("weak", "the weaker copy that guides interpolation", "interpolation_bad.pt"),
    VAE,
    replace(WAVLM, what="speech for keyframes"),
    PublishedFile(
        input="wav2vec2",
        what="speech for interpolation",
        name="wav2vec2-base-960h.safetensors",
        directory="audio_encoders",
        repository="facebook/wav2vec2-base-960h",
        path="model.safetensors",
        owner="Meta AI",
        licence="Apache-2.0",
        size=378_000_000,
    ),
)


@dataclass(frozen=True)
class PublishedSet:
    """Files that are downloaded together: `use` is the command that takes them, `by_hand` what the hub lacks: the
    input, and what to do, in words."""

    files: tuple[PublishedFile, ...]
    use: str
    by_hand: Mapping[str, str] = field(default_factory=dict)


# What the command downloads, by name.
SETS = {
    "published": PublishedSet(PUBLISHED, "dub VIDEO AUDIO -o OUT"),
    "keyface": PublishedSet(
        KEYFACE,
        "animate PICTURE AUDIO -o OUT",
        {
            "beats": "Microsoft publishes BEATs elsewhere: get BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt from "
            "https://github.com/microsoft/unilm/tree/master/beats (licence: MIT)"
        },
    ),
}


def in_words(size: int) -> str:
    """A number of bytes for people: 6.4 GB, 196 MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
