"""The editor draws the same frames however many share a call."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.systems.flashlips import edit as module
from keysync.systems.flashlips.edit import edit, frames_a_call
from keysync.systems.flashlips.editor import Editor
from keysync.systems.flashlips.presets import PRESETS

from .test_editor import given, made


@pytest.fixture(scope="module")
def editor() -> Editor:
    return made("tiny")


@pytest.mark.parametrize("together", [1, 2, 5])
@pytest.mark.parametrize("shared", [True, False])
def test_any_grouping_gives_the_same_numbers(editor: Editor, together: int, shared: bool) -> None:
    source, mask, references, lips = given(5)
    with torch.no_grad():
        features = editor.references(references[:1] if shared else references)
        whole = editor(source, mask, features, lips)
    with patch.object(module, "frames_a_call", lambda *_: together):
        torch.testing.assert_close(edit(editor, source, mask, features, lips), whole, atol=1e-5, rtol=1e-5)


def test_more_frames_share_a_call_of_a_smaller_network(editor: Editor) -> None:
    with torch.device("meta"):
        full = Editor(PRESETS["full-unet"].networks.editor, 12)
    assert full.peak_bytes(1, (64, 64)) > 50 * editor.peak_bytes(1, (8, 8))
    assert frames_a_call(editor, (8, 8), 64) > 1
    assert frames_a_call(editor, (8, 8), 1) == 1
    assert frames_a_call(full, (64, 64), 64) == 1  # a device that is not known


def test_memory_grows_with_the_frames(editor: Editor) -> None:
    one, four = (editor.peak_bytes(count, (8, 8)) for count in (1, 4))
    assert 3 * one < four < 5 * one


class Full(torch.nn.Module):
    """An editor on a GPU that holds so many frames; `calls` are the frames of each call."""

    def __init__(self, holds: int) -> None:
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(1))
        self.holds, self.calls = holds, list[int]()

    def peak_bytes(self, frames: int, latent_size: tuple[int, int]) -> int:
        return 1

    def forward(self, source: Tensor, mask: Tensor, features: Tensor, lips: Tensor) -> Tensor:
        self.calls.append(len(source))
        if len(source) > self.holds:
            raise torch.OutOfMemoryError("full")
        return source + 1


def test_groups_are_halved_where_memory_runs_out() -> None:
    source, mask, _, lips = given(5)
    full, said = Full(1), list[int]()
    with patch.object(module, "frames_a_call", lambda *_: 5), patch.object(module, "cores", lambda *_: 1):
        made = edit(full, source, mask, source[:1], lips, said.append)  # type: ignore[arg-type]
    torch.testing.assert_close(made, source + 1)
    assert said == [2, 1]
    assert full.calls == [5, 2, 1, 1, 1, 1, 1]


def test_a_gpu_that_does_not_hold_one_frame_is_an_error() -> None:
    source, mask, _, lips = given(2)
    with pytest.raises(KeySyncError, match="the GPU's memory does not hold the editor at work on one frame: close"):
        edit(Full(0), source, mask, source[:1], lips)  # type: ignore[arg-type]
