from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from keysync.demo import TALK
from keysync.face.crop import crop, crop_boxes
from keysync.face.rendered import RenderedFaces
from keysync.job import FaceSource, survey
from keysync.media.reader import open_video


def crops(video: Path, frames: int = 9) -> torch.Tensor:
    source = open_video(video)
    pts, track = survey(source, FaceSource())
    boxes = np.zeros((len(pts), 3), np.int64)
    for start, stop in track.runs():
        boxes[start:stop] = crop_boxes(track, start, stop, 1.5)
    found = np.flatnonzero(track.found)[:frames].tolist()
    pictures = source.pick(pts, found)
    return torch.stack([crop(picture, boxes[n], (256, 256)) for n, picture in zip(found, pictures, strict=True)])


def test_the_built_in_talk_is_rendered() -> None:
    shown = crops(TALK)
    faces = RenderedFaces()
    assert faces.are_rendered(shown)
    assert faces.are_rendered((shown * 255).round().to(torch.uint8))
    assert faces.scores(shown).shape == (len(shown),)


@pytest.mark.parametrize(
    "name",
    [
        "aniportrait_pose_ref_512_25fps.mp4",
        "facerec_hamilton_cuts_mic_profile_multi_640x360_2997.mp4",
        "latentsync_demo1_1080x1920_25fps_hevc.mp4",
    ],
)
def test_people_are_not(name: str, media: Path) -> None:
    assert not RenderedFaces().are_rendered(crops(media / name))
