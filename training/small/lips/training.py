"""Trains the built-in reader of lips: python -m training.small.lips.training -o FOLDER --people CLIPS.

FOLDER/lips.safetensors becomes the reader, as `keysync.speech.lips.load_lips` loads it; FOLDER/corpus the speech. Most
of it is synthetic, with the truth of its phonemes; clips of people teach how real mouths differ from that.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.speech.encoder import SpeechEncoder
from keysync.speech.encoders import load_encoder
from keysync.speech.lips import WEIGHTS, LipsNetwork
from keysync.speech.lips_curve import LIPS, POSITIVE
from keysync.speech.whisper import WEIGHTS as WHISPER_WEIGHTS
from keysync.speech.whisper import Whisper
from keysync.weights.eight_bits import FORMAT, to_eight_bits
from keysync.weights.files import write_tensors

from ...synthetic.voice.corpus import load_corpus
from ...synthetic.voice.sentences import TRAIN, VALIDATION
from ..learning import learning_rate, take_step
from .clips import find_clips, read_clip
from .talks import Talks, make_talks

log = logging.getLogger(__name__)

BATCH = 6  # talks
FIRST_RATE, LAST_RATE, WARM_UP = 2e-3, 1e-5, 50
DECAY = 0.05
# The first and last frames of speech, which the encoder hears beside nothing, are rare: each counts as many.
EDGE, EDGE_WEIGHT = 2, 40.0
NOISE = 1.0  # standard deviation added to the rows, whose own is 1.6
# How much the correlation with people's mouths counts, of how many clips in a step, and the noise added to their rows:
# as few people as there are would be known by heart.
PEOPLE_WEIGHT, PEOPLE, PEOPLE_NOISE = 6.0, 6, 2.0
VALIDATION_HOURS, VALIDATION_TALKS = 0.25, 36
LOUD = 0.95  # the quantile of speech that is 1 in a curve
QUIET = 0.999  # that of silence that is 0
# Least opening of frames that belong to speech, where the scale is taken.
SPEAKING = 0.05


@dataclass(frozen=True)
class Settings:
    """`hours` of speech are heard in `talks` of 28 s, `epochs` times."""

    hours: float = 2.5
    talks: int = 540
    epochs: int = 6
    seed: int = 0
    workers: int = 2


@dataclass(frozen=True, eq=False)
class Person:
    """A clip of n frames, its sound in sync: the encoder's `rows` (n, 2, c), the `mouth` (n, 4) in the order of
    `MEASURED`, the first of `LIPS`, NaN where no face is seen."""

    rows: Tensor
    mouth: Tensor


def read_people(encoder: SpeechEncoder, folder: Path) -> list[Person]:
    """The clips of people in a folder. Raises `KeySyncError` where there is none, or one without sound or picture."""
    people = []
    for file in find_clips(folder):
        clip = read_clip(file)
        rows = encoder.encode(torch.from_numpy(clip.sound)).at(clip.times)
        people.append(Person(rows, torch.from_numpy(clip.mouth)))
    if not people:
        raise KeySyncError(f"{folder} has no clips: expected videos of people talking", about="people")
    return people


def train(settings: Settings, folder: Path, people: Path | None = None) -> Tensor:
    """Trains into a folder; returns the correlation of each channel (5,) for voices that were held out."""
    encoder = load_encoder(Whisper.name, WHISPER_WEIGHTS)
    corpus = load_corpus(folder / "corpus" / TRAIN, settings.hours, TRAIN, settings.seed, settings.workers)
    held = min(VALIDATION_HOURS, settings.hours)
    unheard = load_corpus(folder / "corpus" / VALIDATION, held, VALIDATION, settings.seed, settings.workers)
    talks = make_talks(encoder, corpus, settings.talks, settings.seed)
    known = make_talks(encoder, unheard, min(VALIDATION_TALKS, settings.talks), settings.seed)
    network = fit(talks, settings, [] if people is None else read_people(encoder, people))
    scale_to(network, known)
    correlations = validate(network, known)
    log.info("unheard voices: %s", ", ".join(f"{n} {c:.3f}" for n, c in zip(LIPS, correlations.tolist(), strict=True)))
    tensors = {name: value.half() for name, value in network.state_dict().items()}
    write_tensors(to_eight_bits(tensors), folder / WEIGHTS.name, {"encoder": WHISPER_WEIGHTS.name, "format": FORMAT})
    return correlations


def fit(talks: Talks, settings: Settings, people: Sequence[Person] = ()) -> LipsNetwork:
    """A network trained on these talks and people."""
    torch.manual_seed(settings.seed)
    network = LipsNetwork()
    network.mean.data = talks.rows[:: len(talks.rows) // 50 + 1].float().flatten(0, -2).mean(0)
    spread = talks.curves.flatten(0, 1).std(0)
    decayed = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(decayed, FIRST_RATE, weight_decay=DECAY)
    weight = torch.ones(talks.curves.shape[1], 1)
    weight[:EDGE] = weight[-EDGE:] = EDGE_WEIGHT
    weight /= weight.mean()
    steps = settings.epochs * -(-len(talks.rows) // BATCH)
    order = torch.cat([torch.randperm(len(talks.rows)) for _ in range(settings.epochs)])
    for step in range(steps):
        chosen = order[step * BATCH : (step + 1) * BATCH]
        rows = talks.rows[chosen].float()
        read = network(rows + NOISE * torch.randn_like(rows))
        loss = (((read - talks.curves[chosen]) / spread).square() * weight).mean()
        if people:
            some = [people[number] for number in torch.randperm(len(people))[:PEOPLE].tolist()]
            loss = loss + PEOPLE_WEIGHT * torch.stack([_unlike(network, person) for person in some]).mean()
        rate = learning_rate(FIRST_RATE, LAST_RATE, step / steps, step, WARM_UP)
        take_step(network, optimizer, loss, rate)
        if step % 40 == 0:
            log.info("step %d of %d: %.3f", step, steps, loss.item())
    return network.eval()


def _unlike(network: LipsNetwork, person: Person) -> Tensor:
    """1 less the mean correlation of a person's curves, whatever the size of the mouth's movements."""
    seen = person.mouth.isfinite().all(1)
    read = network((person.rows + PEOPLE_NOISE * torch.randn_like(person.rows))[None])[0, seen, : person.mouth.shape[1]]
    pairs = [centred / (centred.norm(dim=0) + 1e-6) for centred in (x - x.mean(0) for x in (read, person.mouth[seen]))]
    loss: Tensor = 1 - (pairs[0] * pairs[1]).sum(0).mean()
    return loss


@torch.no_grad()
def scale_to(network: LipsNetwork, talks: Talks) -> None:
    """Moves the positive curves so that `QUIET` of all frames in silent talks are at most 0, where the mouth is closed;
    then scales all so that `LOUD` of the frames of speech are below 1, in size."""
    assert network.linear.bias is not None
    read, opening = _read(network, talks), talks.curves[..., 0]
    silent = (opening.amax(1) == 0)[:, None].expand_as(opening).flatten()
    rest = torch.zeros(len(LIPS))
    rest[POSITIVE] = read[silent][:, POSITIVE].quantile(QUIET, 0)
    network.linear.bias.sub_(rest)
    scale = (read - rest)[opening.flatten() > SPEAKING].abs().quantile(LOUD, 0)
    network.linear.weight.div_(scale[:, None, None])
    network.linear.bias.div_(scale)
    network.out.weight.div_(scale[:, None])


def validate(network: LipsNetwork, talks: Talks) -> Tensor:
    """The correlation of each channel (5,) with the truth."""
    pairs = torch.stack([_read(network, talks), talks.curves.flatten(0, 1)], 1)
    return torch.stack([torch.corrcoef(pairs[..., channel].T)[0, 1] for channel in range(len(LIPS))])


@torch.no_grad()
def _read(network: LipsNetwork, talks: Talks) -> Tensor:
    return torch.cat([network(rows[None].float())[0] for rows in talks.rows])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.small.lips.training", description="Trains the built-in reader of lips."
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the reader and its corpus")
    parser.add_argument("--people", type=Path, metavar="FOLDER", help="clips of people talking, their sound in sync")
    parser.add_argument("--hours", type=float, default=Settings.hours, help="hours of speech to synthesise")
    parser.add_argument("--talks", type=int, default=Settings.talks, help="talks of 28 s to hear it in")
    parser.add_argument("--epochs", type=int, default=Settings.epochs, help="passes over the talks")
    parser.add_argument("--seed", type=int, default=Settings.seed, help="seed of weights and speech")
    parser.add_argument("--workers", type=int, default=Settings.workers, help="processes that synthesise speech")
    arguments = vars(parser.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        train(folder=arguments.pop("output"), people=arguments.pop("people"), settings=Settings(**arguments))
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
