"""Trains the ears of KeySync small: python -m training.small.ears -o FOLDER [--hubert FOLDER --stages FILE FILE].

What the HuBERT of the stages hears in clean synthetic speech is read from what the built-in Whisper hears of it through
all kinds of microphones; what counts is mostly what the stages take from it. FOLDER/model.safetensors becomes the ears,
as `keysync.speech.ears` loads them; FOLDER/corpus the speech.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from keysync.errors import KeySyncError
from keysync.method import ROWS_PER_SECOND, SAMPLE_RATE
from keysync.network.stage import STAGES
from keysync.speech.ears import EarsNetwork
from keysync.speech.encoder import SpeechEncoder
from keysync.speech.encoders import load_encoder
from keysync.speech.hubert import Hubert
from keysync.speech.whisper import WEIGHTS, Whisper
from keysync.systems.keysync.small import SMALL
from keysync.weights.checkpoint import load_stage
from keysync.weights.eight_bits import FORMAT, to_eight_bits
from keysync.weights.files import write_tensors
from keysync.weights.identify import EARS

from ..synthetic.voice.corpus import Corpus, load_corpus
from ..synthetic.voice.microphone import Microphone
from ..synthetic.voice.sentences import TRAIN, VALIDATION
from .encoder.lesson import MOUTH, excerpt, in_tempo, recorded
from .learning import learning_rate, take_step
from .lips.talks import silence

log = logging.getLogger(__name__)

SMALL_STAGES = tuple(SMALL[stage] for stage in STAGES)
HUBERT = Path(__file__).with_name("encoder") / "keysync-small-hubert"
# Seconds of talks, in turn: as much as Whisper hears at once, and some of the silence that follows shorter speech.
LENGTHS = (28, 12, 28, 5, 28, 8, 2, 3, 4, 2, 12, 3)
SILENT = 10  # one talk in so many has nothing but the microphone's noise
CLEAN = 0.35  # the share of talks that are heard without a microphone
BATCH = 2800  # frames
FIRST_RATE, LAST_RATE, WARM_UP, DECAY = 1.5e-3, 1e-5, 50, 0.05
NOISE = 0.5  # standard deviation added to Whisper's rows, whose own is 1.6
# How much the rows count beside what the stages take from them, and the mouth that a linear layer reads from them; and
# the ridge that this layer is fitted with.
ROWS_WEIGHT, MOUTH_WEIGHT, RIDGE = 0.2, 0.3, 10.0
VALIDATION_HOURS, VALIDATION_TALKS = 0.25, 36


@dataclass(frozen=True)
class Settings:
    """`hours` of speech are heard in `talks`, `epochs` times."""

    hours: float = 2.5
    talks: int = 1040
    epochs: int = 12
    seed: int = 0
    workers: int = 2


@dataclass(frozen=True, eq=False)
class Heard:
    """A talk of f frames: rows (f, 2, 384) and (f, 2, CHANNELS) of Whisper and HuBERT, the mouth (f, 5); float16."""

    rows: Tensor
    clean: Tensor
    mouth: Tensor


def hear(whisper: SpeechEncoder, hubert: SpeechEncoder, corpus: Corpus, count: int, seed: int) -> list[Heard]:
    """`count` talks of a corpus; a function of its arguments."""
    heard = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        seconds = LENGTHS[number % len(LENGTHS)]
        if number % SILENT == SILENT - 1:
            sound = silence(rng)[: seconds * SAMPLE_RATE]
            clean, mouth = np.zeros_like(sound), np.zeros((seconds * ROWS_PER_SECOND, len(MOUTH)))
        else:
            speech, said, times = excerpt(corpus, rng, seconds)
            clean = in_tempo(Microphone(), speech, seconds)
            sound = clean if rng.random() < CLEAN else recorded(corpus, rng, speech, seconds)
            motion = said.mouth(np.append(times, times[-1]))
            mouth = np.stack([getattr(motion, name) for name in MOUTH], 1)
        rows, target = (e.encode(torch.from_numpy(s)).frames for e, s in ((whisper, sound), (hubert, clean)))
        pairs = torch.from_numpy(mouth).unflatten(0, (-1, 2)).mean(1)
        heard.append(Heard(rows.half(), target.half(), pairs.half()))
        if number % 100 == 99:
            log.info("%d of %d talks", number + 1, count)
    return heard


@dataclass(frozen=True, eq=False)
class Target:
    """HuBERT's rows have this `mean` and `spread` (2 CHANNELS,); `probe` (2 CHANNELS + 1, 5) reads the mouth from rows
    without them, and `mouth_spread` (5,) is that of the mouth. The stages take `taken` (n, CHANNELS) from each row, of
    the variance `variance`."""

    mean: Tensor
    spread: Tensor
    probe: Tensor
    mouth_spread: Tensor
    taken: Tensor
    variance: float

    @classmethod
    def of(cls, talks: Sequence[Heard], taken: Tensor) -> Target:
        rows = torch.cat([talk.clean.float().flatten(1) for talk in talks])
        mouths = torch.cat([talk.mouth.float() for talk in talks])
        mean, spread = rows.mean(0), rows.std(0).clamp_min(1e-3)
        known = F.pad((rows - mean) / spread, (0, 1), value=1.0).double()
        square = known.T @ known + RIDGE * torch.eye(known.shape[1], dtype=torch.float64)
        probe = torch.linalg.solve(square, known.T @ mouths.double())
        variance = float((rows.unflatten(1, (2, -1)) @ taken.T).flatten(0, 1).var(0).sum())
        return cls(mean, spread, probe.float(), mouths.std(0), taken, variance)

    def read(self, rows: Tensor) -> Tensor:
        """The mouth (..., 5) in rows (..., 2 CHANNELS) without mean and spread."""
        return F.pad(rows, (0, 1), value=1.0) @ self.probe

    def loss(self, read: Tensor, talks: Sequence[Heard]) -> Tensor:
        """How far rows (b, f, 2 CHANNELS) without mean and spread are from those of these talks, what the stages take
        from them, and their mouths."""
        clean = torch.stack([talk.clean.float().flatten(1) for talk in talks])
        mouths = torch.stack([talk.mouth.float() for talk in talks])
        apart = read - (clean - self.mean) / self.spread
        taken: Tensor = (apart * self.spread).unflatten(-1, (2, -1)) @ self.taken.T
        taken_loss: Tensor = taken.square().sum(-1).mean() / self.variance
        mouth_loss = ((self.read(read) - mouths) / self.mouth_spread).square().mean()
        return taken_loss + ROWS_WEIGHT * apart.square().mean() + MOUTH_WEIGHT * mouth_loss


def taken_by(stages: Sequence[Path]) -> Tensor:
    """What stages take from HuBERT's rows: the weights (n, CHANNELS) of their audio projections."""
    return torch.cat([load_stage(stage).audio_projection.weight.detach().float() for stage in stages])


def train(settings: Settings, folder: Path, hubert: Path = HUBERT, stages: Sequence[Path] = SMALL_STAGES) -> Tensor:
    """Trains into a folder; returns the correlation (5,) of the mouth for voices that were held out."""
    taken = taken_by(stages)
    teacher = load_encoder(Hubert.name, hubert)
    whisper = load_encoder(Whisper.name, WEIGHTS)
    corpus = load_corpus(folder / "corpus" / TRAIN, settings.hours, TRAIN, settings.seed, settings.workers)
    held = min(VALIDATION_HOURS, settings.hours)
    unheard = load_corpus(folder / "corpus" / VALIDATION, held, VALIDATION, settings.seed, settings.workers)
    talks = hear(whisper, teacher, corpus, settings.talks, settings.seed)
    known = hear(whisper, teacher, unheard, min(VALIDATION_TALKS, settings.talks), settings.seed)
    target = Target.of(talks, taken)
    network = fit(talks, target, settings)
    correlations = validate(network, target, known)
    log.info("unheard voices: %s", ", ".join(f"{n} {c:.3f}" for n, c in zip(MOUTH, correlations.tolist(), strict=True)))
    scale_to(network, target)
    tensors = {f"{EARS}{name}": value.half() for name, value in network.state_dict().items()}
    write_tensors(to_eight_bits(tensors), folder / "model.safetensors", {"whisper": WEIGHTS.name, "format": FORMAT})
    return correlations


def fit(talks: Sequence[Heard], target: Target, settings: Settings) -> EarsNetwork:
    """A network trained on these talks, whose rows have neither mean nor spread yet."""
    torch.manual_seed(settings.seed)
    network = EarsNetwork()
    network.mean.data = torch.cat([talk.rows.float().flatten(0, 1) for talk in talks[::10]]).mean(0)
    learned = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(learned, FIRST_RATE, weight_decay=DECAY)
    batches = [batch for _ in range(settings.epochs) for batch in batches_of(talks)]
    for step, batch in enumerate(batches):
        rows = torch.stack([talk.rows.float() for talk in batch])
        loss = target.loss(network(rows + NOISE * torch.randn_like(rows)), batch)
        rate = learning_rate(FIRST_RATE, LAST_RATE, step / len(batches), step, WARM_UP)
        take_step(network, optimizer, loss, rate)
        if step % 100 == 0:
            log.info("step %d of %d: %.3f", step, len(batches), loss.item())
    return network.eval()


def batches_of(talks: Sequence[Heard]) -> list[list[Heard]]:
    """All talks in random order, in batches of talks of one length, about `BATCH` frames each."""
    batches: list[list[Heard]] = []
    for length in sorted({len(talk.rows) for talk in talks}):
        alike = [talk for talk in talks if len(talk.rows) == length]
        order, size = torch.randperm(len(alike)).tolist(), max(BATCH // length, 1)
        batches += [[alike[number] for number in order[start : start + size]] for start in range(0, len(order), size)]
    return [batches[number] for number in torch.randperm(len(batches)).tolist()]


@torch.no_grad()
def validate(network: EarsNetwork, target: Target, talks: Sequence[Heard]) -> Tensor:
    """The correlation of the mouth (5,) that is read from the network's rows with the truth."""
    read = torch.cat([target.read(network(talk.rows.float()[None])[0]) for talk in talks])
    pairs = torch.stack([read, torch.cat([talk.mouth.float() for talk in talks])], 1)
    return torch.stack([torch.corrcoef(pairs[..., number].T)[0, 1] for number in range(len(MOUTH))])


@torch.no_grad()
def scale_to(network: EarsNetwork, target: Target) -> None:
    """Gives the network's rows the mean and spread of HuBERT's."""
    assert network.linear.bias is not None
    network.linear.weight.mul_(target.spread[:, None, None])
    network.linear.bias.mul_(target.spread).add_(target.mean)
    network.out.weight.mul_(target.spread[:, None])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.small.ears", description="Trains the ears of KeySync small."
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the ears and their corpus")
    parser.add_argument("--hubert", type=Path, default=HUBERT, help="the HuBERT of the stages (default: the small one)")
    parser.add_argument("--stages", type=Path, nargs="+", default=SMALL_STAGES, help="the stages (default: small)")
    parser.add_argument("--hours", type=float, default=Settings.hours, help="hours of speech to synthesise")
    parser.add_argument("--talks", type=int, default=Settings.talks, help="talks of 2 to 28 s to hear it in")
    parser.add_argument("--epochs", type=int, default=Settings.epochs, help="passes over the talks")
    parser.add_argument("--seed", type=int, default=Settings.seed, help="seed of weights and speech")
    parser.add_argument("--workers", type=int, default=Settings.workers, help="processes that synthesise speech")
    arguments = vars(parser.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        files = {name: arguments.pop(name) for name in ("hubert", "stages")}
        folder = arguments.pop("output")
        train(Settings(**arguments), folder, **files)
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
