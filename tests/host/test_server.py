"""The extension in a running ComfyUI: it loads, runs, stops when told, repeats nothing and holds no memory."""

from __future__ import annotations

from typing import Any

import pytest

from keysync.timeline import SYNC_MODES

from .graph import to_api
from .server import Run, Server
from .workflows import make, with_tiny


def dub(server: Server, seed: int, speech_seconds: float = 1.0) -> dict[str, Any]:
    """The API prompt of the simple dub with tiny files; a speech longer than the clip makes it play to and fro."""
    graph = make("simple_dub_published")
    (dubbed,) = (node for node in graph.nodes if node.kind == "KeySyncDubVideo")
    (clip,) = (node for node in graph.nodes if node.kind == "KeySyncLoadExample")
    clip.inputs.update(seconds=1.0)
    longer = graph.add("KeySyncLoadExample", (0, 0), seconds=speech_seconds)
    dubbed.inputs.update(seed=seed, sync_mode="bounce", audio=longer["audio"])
    prompt: dict[str, Any] = with_tiny(to_api(graph, server.info))
    return prompt


def test_the_extension_loads_without_an_error(server: Server) -> None:
    lines = [line for line in server.log.splitlines() if "keysync" in line.lower()]
    assert any("seconds" in line for line in lines), f"ComfyUI never loaded it:\n{server.log}"
    assert not [line for line in lines if "FAILED" in line or "Cannot import" in line or "rror" in line]
    assert [name for name in server.info if name.startswith("KeySync")]


def test_progress_is_told_and_a_video_is_saved(server: Server) -> None:
    run = server.run(dub(server, seed=1))
    assert run.error is None
    assert [data["value"] for data in run.of("progress")], "no progress was told"
    videos = server.saved(run)
    assert len(videos) == 2  # the result, and before and after
    assert all(video.stat().st_size > 1000 for video in videos)


def test_an_unchanged_graph_runs_nothing_again(server: Server) -> None:
    prompt = dub(server, seed=2)
    assert server.run(prompt).error is None
    again = server.run(prompt)
    assert again.error is None
    assert again.executed == []
    (cached,) = again.of("execution_cached")
    assert set(cached["nodes"]) == set(prompt)


def test_an_interrupt_stops_within_one_evaluation_and_comfyui_goes_on(server: Server) -> None:
    run = server.run(dub(server, speech_seconds=6.0, seed=3), interrupt_at="progress")
    assert run.messages[-1]["type"] == "execution_interrupted"
    sent = next(place for place, message in enumerate(run.messages) if message["type"] == "interrupt_sent")
    steps = {m["data"]["value"] for m in run.messages[:sent] if m["type"] == "progress"}
    more = {m["data"]["value"] for m in run.messages[sent:] if m["type"] == "progress"} - steps
    # One evaluation is under way when the interrupt arrives, and one may be told before it does.
    assert len(more) <= 2, f"{len(more)} more steps after the interrupt"
    after = server.run(dub(server, seed=4))
    assert after.error is None
    assert server.saved(after)


def test_ten_runs_hold_no_more_memory_than_one(server: Server) -> None:
    if server.resident_memory() is None:
        pytest.skip("this system does not say how much memory a process holds")
    for seed in range(10, 14):
        finished(server.run(dub(server, seed=seed)))
    before = server.resident_memory()
    for seed in range(20, 30):
        finished(server.run(dub(server, seed=seed)))
    after = server.resident_memory()
    assert before
    assert after
    assert after < 1.02 * before, f"{before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after ten runs"


def test_models_are_unloaded_and_loaded_again(server: Server) -> None:
    prompt = dub(server, seed=5)
    finished(server.run(prompt))
    server.post("/free", {"unload_models": True, "free_memory": True})
    finished(server.run(dub(server, seed=6)))


def finished(run: Run) -> None:
    assert run.error is None


def split(server: Server, seed: int, speech_seconds: float, sync_mode: str) -> dict[str, Any]:
    """The API prompt of the split graph with tiny files, and speech of another length."""
    graph = make("split_graph")
    nodes = {node.kind: node for node in graph.nodes}
    nodes["KeySyncLoadExample"].inputs.update(seconds=1.0)
    for kind in ("KeySyncSampleKeyframes", "KeySyncInterpolateKeyframes"):
        nodes[kind].inputs.update(seed=seed)
    spoken = graph.add("KeySyncLoadExample", (0, 0), seconds=speech_seconds)
    nodes["KeySyncFitAudio"].inputs.update(sync_mode=sync_mode, audio=spoken["audio"])
    prompt: dict[str, Any] = with_tiny(to_api(graph, server.info))
    return prompt


@pytest.mark.parametrize("sync_mode", SYNC_MODES)
def test_in_the_split_graph_only_what_follows_from_a_change_runs_again(server: Server, sync_mode: str) -> None:
    """Neither new speech nor another seed follows a face, cuts crops or encodes; a seed hears nothing either."""

    def ran(prompt: dict[str, Any]) -> list[str]:
        run = server.run(prompt)
        assert run.error is None
        return [prompt[node]["class_type"] for node in run.executed]

    seeing = {"KeySyncTrackFace", "KeySyncCropFace", "KeySyncMouthMask", "VAEEncode", "SetLatentNoiseMask"}
    drawing = {"KeySyncSampleKeyframes", "KeySyncInterpolateKeyframes", "KeySyncDecodeFrames", "KeySyncPasteFace"}
    hearing = {"KeySyncFitAudio", "KeySyncEncodeSpeech"}
    ran(split(server, 5, 1.0, sync_mode))
    for seconds in (0.8, 1.4):  # shorter than the clip, and longer
        spoken = ran(split(server, 5, seconds, sync_mode))
        assert drawing | hearing <= set(spoken)
        assert not set(spoken) & seeing
    sampled = ran(split(server, 6, 1.4, sync_mode))
    assert drawing <= set(sampled)
    assert not set(sampled) & (seeing | hearing)


def test_another_seed_in_dub_video_follows_no_face(server: Server) -> None:
    for seed in (31, 32):
        assert server.run(dub(server, seed=seed)).error is None
    found = "the track of its face is in the cache"
    assert found in server.log
