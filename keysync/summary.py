"""The report of a dub in sentences, for a person to read."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from .job import FaceSource
from .network.stage import STAGES
from .report import DUBBED, PASSED_THROUGH, FrameRange, Report
from .systems.keysync.small import BUILT_IN
from .systems.rewrite.system import REWRITE

# Ranges of frames that a sentence lists.
LISTED = 6
ORDINALS = {1: "second", 2: "third", 3: "fourth", 4: "fifth"}


def summarize(report: Report, face: FaceSource) -> str:
    """Which face was dubbed in how many frames, what passed through and why, which models drew it, how long it took.

    A line each.
    """
    return "\n".join(
        (_dubbed(report, face), *_passed(report), *_drawn(report), _marked(report), *_noted(report), *_paced(report))
    )


def name_face(face: FaceSource) -> str:
    """The chosen face in words."""
    if face.track is not None or face.landmarks is not None:
        return "the tracked face"
    if face.choice.picture is not None:
        return f"the person in {face.choice.picture.name}"
    if face.choice.speaking:
        return "the person who speaks"
    if face.choice.point is not None:
        return "the face at {:g}, {:g}".format(*face.choice.point)
    rank = face.choice.index
    size = "largest" if rank == 0 else f"{ORDINALS.get(rank) or _ordinal(rank + 1)} largest"
    return f"the {size} face in {'the video' if face.choice.kept else 'each shot'}"


def _ordinal(number: int) -> str:
    """Such as 10th, 21st or 42nd."""
    return f"{number}{'th' if number // 10 % 10 == 1 else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _dubbed(report: Report, face: FaceSource) -> str:
    rate = float(Fraction(report.frame_rate))
    frames = f"{report.count(DUBBED)} of {report.frames} frames of {Path(report.video).name}"
    lasting = f"({report.seconds:.2f} s at {rate:.5g} fps)"
    if report.speakers:
        each = " and ".join(f"{one['face']} in {one['dubbed']}" for one in report.speakers)
        return f"Dubbed {each} frames, in all {frames} {lasting}."
    return f"Dubbed {name_face(face)} in {frames} {lasting}."


def _passed(report: Report) -> Iterator[str]:
    reasons: dict[str, list[FrameRange]] = {}
    for part in report.ranges:
        if part.state == PASSED_THROUGH:
            reasons.setdefault(part.reason, []).append(part)
    for reason, parts in reasons.items():
        count = sum(part.last - part.first + 1 for part in parts)
        listed = [str(p.first) if p.first == p.last else f"{p.first}-{p.last}" for p in parts[:LISTED]]
        more = f" and {len(parts) - LISTED} more ranges" if len(parts) > LISTED else ""
        frames = f"1 frame is unchanged (frame {listed[0]})"
        if count > 1:
            frames = f"{count} frames are unchanged (frames {', '.join(listed)}{more})"
        yield f"{frames}: {reason}."


def _drawn(report: Report) -> Iterator[str]:
    if report.system == REWRITE.name:
        yield f"Drawn by {report.system}, with mouths from other frames of the same clip."
        return
    names: dict[str, list[str]] = {}
    for name, origin in report.models.items():
        names.setdefault(Path(origin).name, []).append(name)
    models = "; ".join(f"{origin} ({', '.join(used)})" for origin, used in names.items())
    yield f"Drawn by {report.system}{f' with {models}' if models else ''}."
    if any(report.models.get(stage, "").startswith(BUILT_IN) for stage in STAGES):
        remedy = f"for a real face, use {REWRITE.name} or the published models"
        yield f"The built-in model knows rendered heads only: {remedy}."


def _marked(report: Report) -> str:
    if report.provenance is None:
        return "The result does not say that its lips are synthetic."
    return "The result says in its metadata that its lips are synthetic."


def _paced(report: Report) -> Iterator[str]:
    if report.run_seconds:
        yield f"It {report.pace()}."


def _noted(report: Report) -> Iterator[str]:
    for note in report.notes:
        yield f"Note: {note}."
