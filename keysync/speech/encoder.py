"""The base of all speech encoders, and how a transformers model is run: in one pass or, for long speech, in windows.

Attention and group norm see the whole signal, so up to a minute is encoded in one pass; longer speech is encoded in
windows, so that memory stays constant.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import KeySyncError
from ..method import SAMPLE_RATE
from ..weights.identify import Shapes, identify
from .features import FRAME, ROW, SpeechFeatures

logger = logging.getLogger(__name__)

# The longest speech encoded in one pass; longer speech is encoded in windows, of which only the middle is kept.
ONE_PASS = 60 * SAMPLE_RATE
WINDOW = 30 * SAMPLE_RATE
CONTEXT = 5 * SAMPLE_RATE


class SpeechEncoder(ABC):
    """A speech model, and how its rows align with frames: two a frame, `ROW` samples each.

    A model of transformers needs `load` and `_encode` only. Any other also overrides `channels`, and may override
    `recognises`. `model` is a torch module, since ComfyUI moves it between devices: `_encode` gets its waveform on the
    CPU and moves it to the model's device.
    """

    # A key of `ENCODERS`, the option of the command line, and the `about` of errors about its file.
    name: ClassVar[str]
    # What it is loaded from, for people: a line in English, and the same in Chinese.
    files: ClassVar[str]
    files_zh: ClassVar[str] = ""

    @classmethod
    @abstractmethod
    def load(cls, path: Path, device: torch.device, dtype: torch.dtype) -> SpeechEncoder:
        """The encoder in a local folder or file. Raises `KeySyncError` for another kind of file.

        `weights.load_model` loads models of transformers; `weights.files.read_tensors` reads any weight file.
        """

    @classmethod
    def recognises(cls, shapes: Shapes) -> bool:
        """Whether tensors of these shapes are this encoder; by default where their file is of the kind of its name."""
        return identify(shapes)[0] == cls.name

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def channels(self) -> int:
        """Width of a feature row; by default that of a model of transformers."""
        return int(self.model.config.hidden_size)

    @torch.no_grad()
    def encode(self, waveform: Tensor, *, one_pass: int = ONE_PASS) -> SpeechFeatures:
        """Features of a waveform (n,) float32, 16 kHz mono; more than `one_pass` samples are encoded in windows.

        Raises `KeySyncError` for speech without samples.
        """
        if waveform.ndim != 1 or len(waveform) == 0:
            raise KeySyncError(
                f"the speech has shape {tuple(waveform.shape)}: expected one channel with at least one sample"
            )
        return SpeechFeatures(self._encode(followed(waveform, -len(waveform) % FRAME), one_pass), self.name)

    @abstractmethod
    def _encode(self, waveform: Tensor, one_pass: int) -> Tensor:
        """Rows (2 f, c), float32 on the CPU, of a waveform of f whole frames.

        An encoder that sees the whole signal encodes more than `one_pass` samples in windows, as `_rows` does; others
        need not look at it.
        """

    def _rows(
        self,
        waveform: Tensor,
        one_pass: int,
        prepare: Callable[[Tensor], Tensor] = lambda part: part,
        *,
        silence: int = 0,
        first: int = 0,
        zeros: int = 0,
    ) -> Tensor:
        """The model's own rows (2 f - 1, c) of a waveform of f frames; row r starts at sample 320 r.

        So many samples of `silence` follow the waveform. The `first` row comes so many times more, and so many rows of
        `zeros` follow: long speech is not copied for either.
        """
        length = len(waveform) + silence
        if length <= max(one_pass, WINDOW):
            rows = self._run(prepare(followed(waveform, silence)))
            return torch.cat((rows[:1].expand(first, -1), rows, rows.new_zeros(zeros, rows.shape[1])))
        logger.info("%s: %.0f s of speech in windows of %d s", self.name, length / SAMPLE_RATE, WINDOW // SAMPLE_RATE)
        joined = torch.empty(0)
        filled = first
        for heard, kept in windows(length):
            part = waveform[heard]
            rows = self._run(prepare(followed(part, min(heard.stop, length) - heard.start - len(part))))[kept]
            if not len(joined):  # not a list: joining it would take twice as much
                joined = rows.new_empty(first + length // ROW + zeros, rows.shape[1])
                joined[:first] = rows[:1]
            joined[filled : filled + len(rows)] = rows
            filled += len(rows)
        joined[filled : filled + zeros] = 0
        return joined[: filled + zeros]

    def _run(self, waveform: Tensor) -> Tensor:
        waveform = waveform.to(self.model.device, self.model.dtype)
        rows: Tensor = self.model(waveform[None]).last_hidden_state[0]
        return rows.float().cpu()


def followed(waveform: Tensor, silence: int) -> Tensor:
    """A waveform (n,) followed by so many samples of silence: a copy only where there are any."""
    return F.pad(waveform, (0, silence)) if silence else waveform


def windows(length: int) -> Iterator[tuple[slice, slice]]:
    """The samples of each window of speech of so many samples, and which of the window's rows are kept."""
    step = WINDOW - 2 * CONTEXT if length > WINDOW else WINDOW
    for start in range(0, max(length, 1), step):
        stop = min(start + step, length)
        begin = max(min(start - CONTEXT, length - WINDOW), 0)
        yield slice(begin, begin + WINDOW), slice((start - begin) // ROW, (stop - begin) // ROW)
