"""The rows of the table: figures over the readings of all films, and their bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keysync.correlation import Curve

from ..synthetic.measure.metrics import Estimate, jitter, lip_leak, mean_of, pixel_jitter, sync
from .likeness import ratio
from .reading import Covered, Quiet, Talk
from .row import ABOVE_ZERO, Row


def talk_rows(talks: Sequence[Talk]) -> list[Row]:
    """Lip sync with other speech, identity, and jitter."""
    read, truth = [talk.read for talk in talks], [talk.truth for talk in talks]
    found = sync(read, truth)
    loud = sync([talk.loud for talk in talks], truth)
    real = [talk.real for talk in talks]
    textures, real_textures = [talk.texture for talk in talks], [talk.real_texture for talk in talks]
    everywhere = [np.ones(texture.shape[:3]) for texture in textures]
    over_loudness = mean_of([talk.gain_over(talk.loud) for talk in talks])
    return [
        Row("cross_sync_correlation", "cross-sync: correlation with the true opening", found.correlation, 0.8),
        Row("cross_sync_slope", "cross-sync: slope", found.slope, 0.7, 1.3),
        Row("cross_sync_lag", "cross-sync: best lag, frames", found.lag, -1, 1),
        Row("loudness_correlation", "loudness alone: correlation", loud.correlation),
        Row("correlation_over_loudness", "cross-sync: correlation above loudness alone", over_loudness, ABOVE_ZERO),
        Row(
            "identity_colour", "identity: colour, own over another's", ratio([talk.colour for talk in talks]), high=0.5
        ),
        Row("identity_shape", "identity: lip shape, own over another's", ratio([t.shape for t in talks]), high=0.5),
        Row("jitter", "jitter of the opening over real", jitter(read, real), 0.6, 1.5),
        Row(
            "pixel_jitter", "jitter of the mouth's pixels over real", pixel_jitter(textures, real_textures, everywhere)
        ),
    ]


def quiet_rows(quiets: Sequence[Quiet]) -> list[Row]:
    """Speech, silence and speech, dubbed over a person who talks throughout."""
    talking = sync([quiet.read for quiet in quiets], [quiet.truth for quiet in quiets]).correlation
    return [
        Row("silent_lipleak", "LipLeak in silence", lip_leak([quiet.silent for quiet in quiets]), high=0.05),
        Row("source_lipleak", "LipLeak of the source there", lip_leak([quiet.source for quiet in quiets]), 0.4),
        Row(
            "quiet_mouth_lipleak",
            "LipLeak in silence with a quiet mouth",
            _leak([q.quiet_mouth for q in quiets]),
            high=0.05,
        ),
        Row("noisy_lipleak", "LipLeak in a pause with noise", _leak([q.noisy for q in quiets])),
        Row(
            "noisy_quiet_mouth_lipleak",
            "LipLeak in a pause with noise, with a quiet mouth",
            _leak([q.noisy_quiet_mouth for q in quiets]),
            high=0.05,
        ),
        Row("talking_correlation", "correlation before and after the silence", talking, 0.8),
    ]


def ablation_rows(talks: Sequence[Talk], quiets: Sequence[Quiet]) -> list[Row]:
    """The gain of each part of the method, over the films that were dubbed without it; no estimate where none was."""
    guided = _mean([talk.gain_of_guidance for talk in talks if talk.strong is not None])
    interpolated = _mean([talk.gain_over(talk.held) for talk in talks if talk.held is not None])
    leak = _mean([quiet.leak_of_mouth_mask for quiet in quiets if quiet.mouth_mask is not None])
    return [
        Row("guidance_gain", "audio guidance 5 over 1: correlation", guided, ABOVE_ZERO),
        Row("mouth_mask_leak", "mouth mask over the models' own: LipLeak", leak, ABOVE_ZERO),
        Row("interpolation_gain", "interpolation over holding keyframes: correlation", interpolated, ABOVE_ZERO),
    ]


def _leak(ratios: Sequence[Curve | None]) -> Estimate | None:
    """The LipLeak of the films that were dubbed in this way; no estimate where none was."""
    known = [ratio for ratio in ratios if ratio is not None]
    return lip_leak(known) if known else None


def _mean(gains: Sequence[float]) -> Estimate | None:
    return mean_of(gains) if gains else None


def covered_rows(films: Sequence[Covered]) -> list[Row]:
    """An occluder in front of the mouth: the mean absolute error of its pixels, of 255; no estimate without films."""
    kept, lost = _mean([film.subtracted for film in films]), _mean([film.whole for film in films])
    return [
        Row("occluder_error", "occluder subtracted: error of its pixels, of 255", kept, high=2.0),
        Row("occluder_error_unsubtracted", "not subtracted: error of its pixels", lost, 2.0 + ABOVE_ZERO),
    ]


def outside_row(differences: Sequence[int]) -> Row:
    """The largest change outside the mask, of 255."""
    worst = float(max(differences))
    return Row("outside_mask_max_difference", "largest change outside the mask", Estimate(worst, worst, worst), 0, 0)


def undubbed_row(count: int) -> Row:
    """Films that the system does not draw: the other rows are without them."""
    return Row("undubbed", "films that could not be dubbed", Estimate(count, count, count), high=0)
