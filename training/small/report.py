"""Writes the curves and tables of the built-in model's report:
python -m training.small.report FOLDER EVALUATION ... -o OUT.

FOLDER is that of `training.small`, each EVALUATION a file of `python -m training.evaluate --json`. Writes curves.svg,
the curves as CSV files, tables.md, and with `--dub out/demo.mp4` a contact sheet of the demo to OUT.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from keysync.demo import TALK
from keysync.errors import KeySyncError, install_line
from keysync.media.reader import VideoReader
from keysync.method import NETWORK_RATE
from keysync.network.stage import KEYSYNC

from ..data.disk import written
from ..run.run import Run

EVERY, COLUMNS, SHEET_WIDTH = 5, 10, 128  # of a contact sheet: frame stride, frames per row, width of a frame
POINTS = 150  # of a stage's curve: each is a mean over steps
Curve = dict[str, NDArray[np.float64]]
# The columns of each curve to draw, and the title of the panel.
PANELS = {
    "vae": (("opening", "psnr", "mouth_psnr"), "VAE: mouth opening after encode and decode, PSNR in dB"),
    "encoder": (("open",), "speech encoder: mouth opening heard"),
    **{name: (("loss",), f"{name} stage: loss over the mask") for name in KEYSYNC},
}


def curves(folder: Path) -> dict[str, Curve]:
    """The curves by the name of the step. Raises `KeySyncError` if a step is missing."""
    found = {}
    for name in ("vae", "encoder"):
        path = folder / name / "curve.csv"
        if not path.is_file():
            raise KeySyncError(f"{path} does not exist: run python -m training.small -o {folder} --only {name}")
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        found[name] = {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}
    for name in KEYSYNC:
        run = Run(folder / name)
        if not run.steps():
            raise KeySyncError(f"{run.folder} has no run: run python -m training.small -o {folder} --only {name}")
        found[name] = thinned(run.logged())
    return found


def thinned(logged: Sequence[Mapping[str, Any]], points: int = POINTS) -> Curve:
    """A log reduced to `points` means over consecutive parts, at the last step of each part."""
    parts = [part for part in np.array_split(np.arange(len(logged)), points) if len(part)]
    columns = ("loss", "learning_rate")
    curve = {name: np.array([np.mean([logged[i][name] for i in part]) for part in parts]) for name in columns}
    return {"step": np.array([float(logged[part[-1]]["step"]) for part in parts]), **curve}


def write_csv(path: Path, curve: Curve) -> None:
    lines = [",".join(curve), *(",".join(f"{value:.6g}" for value in row) for row in zip(*curve.values(), strict=True))]
    with written(path) as file:
        file.write_bytes(("\n".join(lines) + "\n").encode())


def draw(path: Path, found: Mapping[str, Curve]) -> None:
    """Draws all curves into one picture. Raises `KeySyncError` without matplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        raise KeySyncError(f"drawing curves needs matplotlib: {install_line('matplotlib')}") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(11, 7), layout="constrained")
    for axis, (name, (columns, title)) in zip(axes.flat, PANELS.items(), strict=True):
        decibels = [column for column in columns if "psnr" in column]
        other = axis.twinx() if decibels else axis
        for column in columns:
            own, style = (other, "--") if column in decibels else (axis, "-")
            colour = f"C{columns.index(column)}"
            own.plot(found[name]["step"], found[name][column], style, color=colour, label=column.replace("_", " "))
        if decibels:
            lines = [*axis.get_lines(), *other.get_lines()]
            axis.legend(lines, [line.get_label() for line in lines], loc="lower right")
        if columns == ("loss",):
            axis.set_yscale("log")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def read_evaluation(path: Path) -> dict[str, Any]:
    """The result of an evaluation. Raises `KeySyncError` for a missing or other file."""
    try:
        result: dict[str, Any] = json.loads(path.read_bytes())
        result["seed"], result["rows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KeySyncError(
            f"{path} is not an evaluation ({error}): expected a file of python -m training.evaluate --json"
        ) from error
    return result


def table(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table with a column per evaluation."""
    first, *_ = evaluations
    heads = ["", *(f"seed {each['seed']}" for each in evaluations), "bound", ""]
    lines = [heads, ["---"] * len(heads)]
    for key, row in first["rows"].items():
        results = [each["rows"][key] for each in evaluations]
        figures = [f"{each['value']:.3f} ({each['interval'][0]:.3f} to {each['interval'][1]:.3f})" for each in results]
        holds = [each["holds"] for each in results if each["holds"] is not None]
        verdict = "" if not holds else "holds" if all(holds) else "does not hold"
        lines.append([row["title"], *figures, row["bound"], verdict])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_sheet(path: Path, source: Path, dubbed: Path) -> None:
    """Writes frames of a video above the dubbed ones, with their times."""
    pairs = zip(VideoReader(source).frames(), VideoReader(dubbed).frames(), strict=False)
    columns = []
    for number, ((_, before), (_, after)) in enumerate(pairs):
        if number % EVERY == 0:
            column = Image.fromarray(np.concatenate([before, after]))
            column = column.resize((SHEET_WIDTH, SHEET_WIDTH * column.height // column.width), Image.Resampling.LANCZOS)
            ImageDraw.Draw(column).text((4, column.height - 14), f"{number / NETWORK_RATE:.2f} s", fill="white")
            columns.append(np.asarray(column))
    rows = [columns[start : start + COLUMNS] for start in range(0, len(columns) - COLUMNS + 1, COLUMNS)]
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    Image.fromarray(sheet).save(path, quality=88)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.small.report", description="Writes curves and tables of the built-in model's report."
    )
    parser.add_argument("folder", type=Path, help="the folder of python -m training.small")
    parser.add_argument("evaluations", type=Path, nargs="+", help="JSON files of python -m training.evaluate")
    parser.add_argument("-o", "--output", type=Path, required=True, help="an existing folder")
    parser.add_argument("--dub", type=Path, help="the output of keysync demo")
    options = parser.parse_args(arguments)
    try:
        found = curves(options.folder)
        for name, curve in found.items():
            write_csv(options.output / f"{name}.csv", curve)
        draw(options.output / "curves.svg", found)
        evaluations = [read_evaluation(path) for path in options.evaluations]
        with written(options.output / "tables.md") as file:
            file.write_bytes(table(evaluations).encode())
        if options.dub is not None:
            write_sheet(options.output / "demo.jpg", TALK, options.dub)
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
