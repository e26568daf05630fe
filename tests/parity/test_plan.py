"""The plan against the reference's: equal where the reference has no defect, by the rule where it has.

Left out, as no published pipeline uses them: plans without anchors, overlaps of 2 and 3 frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from keysync.systems.keysync.plan import Plan

from .conftest import Golden


def cases(golden: Golden) -> Iterator[dict[str, Any]]:
    """Every case with anchors; plans without (`add_zero_flag` false) belong to no published pipeline."""
    yield from (case for case in golden.facts("plan")["cases"] if case["add_zero_flag"])


def stitched(case: dict[str, Any]) -> tuple[list[list[int]], list[list[int]]]:
    """Batches and windows of all calls: the reference plans a few batches at a time."""
    batches = [batch for call in case["calls"] for batch in call["keyframe_batches"]]
    windows = [window for call in case["calls"] for window in call["segments"]]
    return batches, windows


def is_sound(batches: list[list[int]]) -> bool:
    """Every batch starts with the anchor, none holds anchors alone, and none is filled up with anchors."""
    anchored = all(batch[0] == 0 for batch in batches)
    strays = [0 in batch[2 if number == 0 else 1 :] for number, batch in enumerate(batches)]
    return anchored and not any(strays)


def test_equal_where_the_reference_is_sound(golden: Golden) -> None:
    met = set()
    for case in cases(golden):
        if case["status"] != "ok":
            continue
        batches, windows = stitched(case)
        plan = Plan(case["out_frames"])
        assert plan.padded == case["out_frames"]
        assert [list(window) for window in plan.windows] == windows, case
        if is_sound(batches):
            assert [list(batch) for batch in plan.batches] == batches, case
            met.add(len(batches))
    assert len(met) > 1, "clips of one batch and of several were to be met"


def test_the_rule_where_the_reference_has_a_defect(golden: Golden) -> None:
    met = 0
    for case in cases(golden):
        frames = case.get("out_frames") or min(case["n_video"], case["n_hubert"])
        if case["status"] == "ok" and is_sound(stitched(case)[0]):
            continue
        plan = Plan(frames)
        fresh = [keyframe for number in range(len(plan.batches)) for keyframe in plan.fresh_keyframes(number)]
        assert fresh == list(plan.keyframes)
        for number, batch in enumerate(plan.batches):
            made = plan.fresh_keyframes(number)
            assert batch == (0, *made, *[made[-1]] * (plan.window - 1 - len(made))), case
        if case["status"] == "ok":
            assert {*fresh} == {0, *(last for _, last in stitched(case)[1])}
        met += 1
    assert met


def test_windows_lie_where_the_reference_merges_them(golden: Golden) -> None:
    """Frames shared by two windows are one frame; the reference averages what it was given twice."""
    tensors = golden.tensors("merge")
    if "merged_overlap1" not in tensors:
        pytest.skip(golden.lacks("the merge"))
    segments, merged = tensors["segments"], tensors["merged_overlap1"]
    plan = Plan(len(merged), window=segments.shape[1])
    total, count = torch.zeros_like(merged), torch.zeros(len(merged))
    for (first, last), segment in zip(plan.windows, segments, strict=True):
        total[first : last + 1] += segment
        count[first : last + 1] += 1
    assert torch.allclose(total / count.view(-1, *[1] * (merged.ndim - 1)), merged, rtol=1e-6, atol=1e-7)
