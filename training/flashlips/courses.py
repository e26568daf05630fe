"""The courses of FlashLips by the stage of their settings."""

from __future__ import annotations

from collections.abc import Mapping

from .audio import AudioCourse
from .config import AUDIO, EDITOR, REFINE, VECTOR
from .course import FlashLipsCourse
from .editor import EditorCourse
from .refinement import RefinementCourse
from .vector import VectorCourse

COURSES: Mapping[str, type[FlashLipsCourse]] = {
    EDITOR: EditorCourse,
    VECTOR: VectorCourse,
    REFINE: RefinementCourse,
    AUDIO: AudioCourse,
}
