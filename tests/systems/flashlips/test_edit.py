"""The editor draws the same frames however many share a call."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch

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
