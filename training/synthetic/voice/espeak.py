"""The speech synthesiser espeak-ng, through its C library: text to samples and the positions of the phonemes.

The library and its data are always those of the package espeakng-loader: releases of espeak-ng differ in sound, and the
same text must give the same samples on every machine.

The library keeps the phase of its oscillators from one text to the next. It is therefore reloaded for each text, which
takes about 15 ms, so that the same text in the same voice gives the same samples.
"""

from __future__ import annotations

import _ctypes
import ctypes
import os
import tempfile
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from keysync.errors import KeySyncError, install_line

# From espeak-ng's speak_lib.h.
SYNCHRONOUS, PHONEME_EVENTS, PHONEME_IPA, DONT_EXIT = 2, 1, 2, 0x8000
CHARACTERS, UTF8, END_PAUSE = 1, 1, 0x1000
RATE, PITCH, RANGE = 1, 3, 4
LIST_END, PHONEME = 0, 7
SEED = 1

VARIANT_FILES, OWN = Path("voices", "!v"), "keysync"  # folder of the variants in the data; name of our own variant


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_void_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("message", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


if TYPE_CHECKING:
    _Samples = ctypes._Pointer[ctypes.c_short]
    _Events = ctypes._Pointer[_Event]

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
_LOCK = threading.Lock()  # the library has global state


@dataclass(frozen=True)
class Spoken:
    """Samples (n,) float32 in -1..1 at `rate`, and for each phoneme its IPA name ("" is a pause) and first sample."""

    samples: NDArray[np.float32]
    rate: int
    phonemes: tuple[tuple[str, int], ...]


def speak(
    text: str, voice: str, rate: int = 175, pitch: int = 50, pitch_range: int = 50, timbre: str | None = None
) -> Spoken:
    """Synthesises a text with a voice of espeak-ng, such as "en-us+f3", at `rate` words per minute.

    `pitch` and `pitch_range` are 0..100. `timbre`: the content of a variant file in espeak-ng's format, which replaces
    the variant of the voice. Raises `KeySyncError` if the library or the voice is missing.
    """
    path, data = _find()
    if timbre is not None:
        data, voice = Path(_linked_data(data).name), f"{voice.partition('+')[0]}+{OWN}"
    samples: list[NDArray[np.int16]] = []
    phonemes: list[tuple[str, int]] = []

    def collect(block: _Samples, count: int, events: _Events) -> int:
        if block and count > 0:
            samples.append(np.ctypeslib.as_array(block, (count,)).copy())
        number = 0
        while events[number].type != LIST_END:
            event = events[number]
            if event.type == PHONEME:
                phonemes.append((_name(event), event.sample))
            number += 1
        return 0

    callback = _Callback(collect)
    with _LOCK:
        if timbre is not None:
            (data / VARIANT_FILES / OWN).write_text(timbre)
        library = _open(path)
        try:
            hertz = _begin(library, data)
            library.espeak_SetSynthCallback(callback)
            if library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise KeySyncError(f"espeak-ng has no voice {voice!r}: expected a language and a variant: en-us+f3")
            for parameter, value in ((RATE, rate), (PITCH, pitch), (RANGE, pitch_range)):
                library.espeak_SetParameter(parameter, value, 0)
            # Noise is random, in one synthesiser through the C library's rand(), which is seeded by the clock.
            library.espeak_ng_SetRandSeed(SEED)
            ctypes.CDLL(None).srand(SEED)
            coded = text.encode()
            library.espeak_Synth(coded, len(coded) + 1, 0, CHARACTERS, 0, UTF8 | END_PAUSE, None, None)
        finally:
            library.espeak_Terminate()
            _ctypes.dlclose(library._handle)
    whole = np.concatenate(samples) if samples else np.zeros(0, np.int16)
    return Spoken(whole.astype(np.float32) / np.float32(32768), hertz, tuple(phonemes))


def _name(event: _Event) -> str:
    # Up to eight bytes, zero-terminated only if shorter.
    place = ctypes.addressof(event) + _Event.id.offset
    return ctypes.string_at(place, 8).split(b"\0")[0].decode("utf-8", "ignore")


def _begin(library: ctypes.CDLL, data: Path) -> int:
    """Initialises the library; returns its sample rate."""
    flags = PHONEME_EVENTS | PHONEME_IPA | DONT_EXIT
    hertz: int = library.espeak_Initialize(SYNCHRONOUS, 0, os.fsencode(data), flags)
    if hertz <= 0:
        raise KeySyncError(f"espeak-ng finds no voices in {data}: reinstall it, {_install('--force-reinstall')}")
    return hertz


@lru_cache(maxsize=1)
def _linked_data(source: Path) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder of links to espeak-ng's data, with a writable folder of variants."""
    folder = tempfile.TemporaryDirectory(prefix="keysync-espeak-")
    for part in source.iterdir():
        if part.name != VARIANT_FILES.parts[0]:
            Path(folder.name, part.name).symlink_to(part)
    Path(folder.name, VARIANT_FILES).mkdir(parents=True)
    return folder


def _find() -> tuple[str, Path]:
    """The path of the library and its data folder."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise KeySyncError(f"synthesising speech needs espeak-ng: {_install()}") from error
    return espeakng_loader.get_library_path(), Path(espeakng_loader.get_data_path())


def _install(*options: str) -> str:
    return install_line(*options, "espeakng-loader")


def _open(path: str) -> ctypes.CDLL:
    """Loads the library. It must be unloaded after each use: reinitialised without that, it deadlocks."""
    try:
        _ctypes.dlclose(ctypes.CDLL(path, mode=os.RTLD_NOLOAD)._handle)
    except OSError:
        library = ctypes.CDLL(path)
    else:
        raise KeySyncError(
            f"another part of this process uses espeak-ng's library {path}: synthesise speech in another process"
        )
    library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
    library.espeak_SetSynthCallback.argtypes = [_Callback]
    library.espeak_SetSynthCallback.restype = None
    library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    library.espeak_SetParameter.argtypes = [ctypes.c_int] * 3
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    library.espeak_Synth.argtypes = [
        *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
        *(ctypes.c_void_p, ctypes.c_void_p),
    ]
    return library
