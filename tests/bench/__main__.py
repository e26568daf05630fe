"""Prints what a dub, a training and finding faces cost here, with small models: `python -m tests.bench [WHAT ...]`.

`length` dubs videos of several lengths by the command line and in a ComfyUI; it fails where memory grows by too much.
`pipeline` tells whether a dub keeps a network busy that takes a known time; it fails where it does not.

Each of these runs in a process of its own, so that its peak memory is its own. Compare ratios, not seconds: machines
differ. `gpu` measures what a GPU gives with models of the published size, `memory` counts what they hold there; see
docs/speed.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Measure = Callable[..., dict[str, Any]]
WAYS = ("rewrite", "keysync", "comfyui")
DEFAULT = ("dub", "training")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "what",
        nargs="*",
        metavar="dub|length|training|faces|pipeline|original|memory|night|gpu",
        help="by default dub and training",
    )
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 120.0], help="lengths of the dubs")
    parser.add_argument("--way", nargs="+", choices=WAYS, default=list(WAYS), help="of length (default: all)")
    parser.add_argument(
        "--rate", type=float, default=8.0, help="of pipeline: frames that the network draws in a second"
    )
    parser.add_argument("--kills", type=int, help="of night: how often a dub is killed (20 where no part is named)")
    parser.add_argument("--animations", type=int, help="of night: how often an animation is killed (20)")
    parser.add_argument("--servers", type=int, help="of night: how often a ComfyUI is killed (5)")
    parser.add_argument("--runs", type=int, help="of night: dubs in one process (100, or those of --minutes)")
    parser.add_argument("--media", type=Path, metavar="FOLDER", help="real clips for faces")
    parser.add_argument(
        "--minutes", type=float, help="of gpu: rows that take longer are not run (3); of night: the end of each part"
    )
    parser.add_argument("--toy", action="store_true", help="gpu with toy models, as it is without CUDA")
    parser.add_argument("--tree", type=Path, help="of original: a checkout of its code")
    parser.add_argument("--python", default=sys.executable, help="of original: an interpreter that it runs in")
    parser.add_argument("--threads", type=int, default=1, help="of original: those of each side (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="of original (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="of original: keep inputs, weights, results and logs here")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    if options.what == ["original"]:
        from .original import bench

        if options.tree is None:
            parser.error("original needs --tree: a checkout of its code")
        bench.run(
            options.tree,
            options.python,
            options.pairs,
            threads=options.threads,
            folder=options.folder,
            json_file=options.json,
        )
        return
    if options.what == ["memory"]:
        show_memory()
        return
    if options.what == ["gpu"]:
        from .gpu.bench import run  # here: a machine with a GPU may lack what the others need

        run(3.0 if options.minutes is None else options.minutes, options.toy, options.json)
        return
    results: dict[str, Any] = {}
    if "faces" in options.what:
        results["faces"] = show_faces(options.media)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        if "dub" in (options.what or DEFAULT):
            results["dub"] = show_dubs(pool.apply, options.seconds)
        if "length" in options.what:
            results["length"] = show_lengths(pool.apply, options.way, sorted(options.seconds))
        if "training" in (options.what or DEFAULT):
            results["training"] = show_training(pool.apply)
    if "pipeline" in options.what:
        results["pipeline"] = show_pipeline(options.rate, max(options.seconds))
    if "night" in options.what:
        parts = options.kills, options.animations, options.servers, options.runs
        results["night"] = show_night(*parts, options.minutes)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


def show_night(
    kills: int | None, animations: int | None, servers: int | None, runs: int | None, minutes: float | None
) -> dict[str, dict[str, Any]]:
    """The parts that are named; all of them where none is, and for some minutes just dubs in one process."""
    from . import night

    parts: dict[str, Callable[[], dict[str, Any]]] = {}
    named = any(part is not None for part in (kills, animations, servers, runs))
    if not named and minutes is not None:
        parts["runs"] = lambda: night.runs(None, minutes)
    elif not named:
        kills, animations, servers, runs = 20, 20, 5, 100
    if kills:
        parts["kills"] = lambda: night.kills(kills, minutes)
    if animations:
        parts["animations"] = lambda: night.animations(animations, minutes)
    if servers:
        parts["servers"] = lambda: night.servers(servers, minutes)
    if runs:
        parts["runs"] = lambda: night.runs(runs, minutes)
    results = {}
    for name, part in parts.items():
        results[name] = part()
        print(name, results[name], flush=True)
    return results


def show_dubs(apply: Callable[[Measure, tuple[Any, ...]], dict[str, Any]], lengths: list[float]) -> dict[float, Any]:
    from . import dub

    results = {}
    for seconds in lengths:
        results[seconds] = result = apply(dub.measure, (seconds,))
        print(f"{seconds:g} s of video, {result['frames']} frames at {result['width']}x{result['height']}")
        for stage, spent in sorted(result["seconds_per_stage"].items(), key=lambda item: -item[1]):
            print(f"  {stage:<14} {spent:8.2f} s   {spent / seconds:7.3f} s per second of video")
        print(f"  network evaluations per second of video {result['network_evaluations'] / seconds:.1f}")
        print(f"  peak memory {result['peak_mib']:.0f} MiB", flush=True)
    peaks = [results[seconds]["peak_mib"] for seconds in sorted(results)]
    if len(peaks) > 1:
        growth = 100 * (peaks[-1] / peaks[0] - 1)
        print(f"peak memory grows by {growth:.1f} % from {min(results):g} s to {max(results):g} s")
    return results


def show_lengths(apply: Callable[[Measure, tuple[Any, ...]], Any], ways: list[str], lengths: list[float]) -> Any:
    from . import length

    results: dict[str, Any] = {}
    growths = []
    for way in ways:
        for seconds in lengths:
            results[f"{way} {seconds:g}"] = result = apply(length.measure, (way, seconds))
            spent = result["processor_seconds"] / seconds
            print(
                f"{way}, {seconds:g} s: peak memory {result['peak_mib']:.0f} MiB, {spent:.2f} processor seconds a "
                "second",
                flush=True,
            )
        first, last = (results[f"{way} {seconds:g}"]["peak_mib"] for seconds in (lengths[0], lengths[-1]))
        growths.append(last / first - 1)
        print(f"{way}: peak memory grows by {growths[-1]:.1%} from {lengths[0]:g} s to {lengths[-1]:g} s", flush=True)
    if max(growths) >= length.MOST_GROWTH:
        raise SystemExit(1)
    return results


def show_pipeline(rate: float, seconds: float) -> dict[str, Any]:
    from . import pipeline

    result = pipeline.measure(rate, seconds)
    print(f"{seconds:g} s of video at 1080p, a network that draws {rate:g} frames a second: {result['run']:.1f} s")
    for stage, spent in sorted(result["busy"].items(), key=lambda item: -item[1]):
        print(f"  {stage:<14} {spent:8.2f} s busy")
    for stage, waits in result["waited"].items():
        for what, spent in waits.items():
            print(f"  {stage} waited {spent:.2f} s for {what}")
    share = result["share"]
    print(
        f"the network is busy for {100 * share:.1f} % of the run; the bound is {100 * pipeline.BOUND:g} %", flush=True
    )
    if share < pipeline.BOUND:
        raise SystemExit(1)
    return result


def show_training(apply: Callable[[Measure, tuple[Any, ...]], dict[str, Any]]) -> dict[str, Any]:
    from . import training

    results = {}
    for checkpointing in (False, True):
        results[f"gradient checkpointing {checkpointing}"] = result = apply(training.steps, (checkpointing,))
        with_or_without = "with" if checkpointing else "without"
        print(
            f"training, 16x16 latents, {with_or_without} gradient checkpointing: {result['steps_a_second']:.2f} steps "
            f"a second, peak memory {result['peak_mib']:.0f} MiB",
            flush=True,
        )
    for pixels in (False, True):
        results[f"pixels {pixels}"] = result = apply(training.samples, (pixels,))
        with_or_without = "with" if pixels else "without"
        print(f"samples at 512x512 {with_or_without} pixels: {result['samples_a_second']:.1f} a second", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        size = apply(training.write_index, (Path(folder),))["bytes"]
        results["index"] = result = apply(training.index, (Path(folder),))
    print(
        f"index of {training.CLIPS:,} clips in {training.SHARDS:,} shards, {size / 2**20:.0f} MiB: opened in "
        f"{result['seconds']:.2f} s with {result['mib']:.0f} MiB, its first clip drawn in "
        f"{result['seconds_to_draw']:.2f} s more, {result['mib_to_draw']:.0f} MiB in all",
        flush=True,
    )
    results["preparation"] = result = apply(training.preparation, ())
    print(f"preparation: {result['seconds_a_minute']:.0f} s for a minute of video, built-in models", flush=True)
    return results


def show_faces(media: Path | None) -> dict[str, Any]:
    from . import faces

    results = faces.measure(media)
    show_row("clip", "frames", "faces found by both", "missed", "more", "points apart, px: median", "worst")
    show_row(*["---"] * 7)
    for name, row in results["clips"].items():
        counts = (row[key] for key in ("frames", "both", "missed", "more"))
        show_row(name, *counts, f"{row['median']:.3f}", f"{row['worst']:.3f}")
    total = results["total"]
    show_row("all", *(total[key] for key in ("frames", "both", "missed", "more")), "", f"{total['worst']:.3f}")
    print()
    ways = ("mediapipe", "each by itself", "followed")
    show_row("ms a frame, one thread", *ways, "mediapipe over followed")
    show_row(*["---"] * 5)
    for name, row in results["speed"].items():
        show_row(name, *(f"{row[way]:.1f}" for way in ways), f"{row['mediapipe'] / row['followed']:.2f}")
    return results


def show_memory() -> None:
    from . import memory

    counted = memory.measure()
    show_row("a stage, GB", "weights", *(f"{group} window{'s' * (group > 1)} a call" for group in memory.GROUPS))
    show_row(*["---"] * 6)
    for precision, row in counted["stage"].items():
        show_row(precision, *(f"{value:.2f}" for value in row.values()))
    print()
    show_row("VAE, fp32, GB", "weights", *(f"{count} frame{'s' * (count > 1)} a call" for count in memory.FRAMES))
    show_row(*["---"] * 4)
    show_row("decoding", *(f"{value:.2f}" for value in counted["vae"].values()))
    print(f"\nspeech encoders, fp32: {counted['encoders']:.2f} GB")


def show_row(*cells: object) -> None:
    print("|", *(f"{cell} |" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
