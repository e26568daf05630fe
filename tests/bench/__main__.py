"""Prints what one dub costs on this machine, with the tiny weights: `python -m tests.bench [--seconds 10 120]`.

Each length runs in a process of its own, so that its peak memory is its own. Compare ratios, not
seconds: machines differ.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from pathlib import Path

from .dub import measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 120.0])
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    results = {}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for seconds in options.seconds:
            results[seconds] = result = pool.apply(measure, (seconds,))
            print(f"{seconds:g} s of video, {result['frames']} frames at {result['width']}x{result['height']}")
            for stage, spent in sorted(result["seconds_per_stage"].items(), key=lambda item: -item[1]):
                print(f"  {stage:<14} {spent:8.2f} s   {spent / seconds:7.3f} s per second of video")
            print(f"  network evaluations per second of video {result['network_evaluations'] / seconds:.1f}")
            print(f"  peak memory {result['peak_mib']:.0f} MiB", flush=True)
    peaks = [results[seconds]["peak_mib"] for seconds in sorted(results)]
    if len(peaks) > 1:
        growth = 100 * (peaks[-1] / peaks[0] - 1)
        print(f"peak memory grows by {growth:.1f} % from {min(results):g} s to {max(results):g} s")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
