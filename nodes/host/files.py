"""Files of models as combo boxes offer them; a folder in the layout of transformers or diffusers counts as one.

What comes with KeySync is offered first, so that a new node is set to it. It lies in none of ComfyUI's folders: the
lists of other nodes stay as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import folder_paths

from ...keysync.errors import KeySyncError
from ...keysync.systems.keysync.small import SMALL


def built_in(*names: str) -> dict[str, Path]:
    """Names of files and folders that come with KeySync, and where they lie; `names` are keys of `SMALL`."""
    return {SMALL[name].name: SMALL[name] for name in names}


def offered(own: Mapping[str, Path], kinds: Iterable[str], weights: Sequence[str]) -> dict[str, Path]:
    """What is built in (`own`) and names of what lies in ComfyUI's folders of these kinds, and where: the first that
    has a name keeps it.

    A folder that holds config.json and one of `weights` stands for its files.
    """
    found = dict(own)
    for kind in kinds:
        folders = _folders(kind, weights)
        for name, path in (*folders.items(), *_files(kind)):
            if path.parent not in folders.values():
                found.setdefault(name, path)
    return found


def find(name: str, own: Mapping[str, Path], kinds: Sequence[str], weights: Sequence[str]) -> Path:
    """The path of an offered file or folder; raises `KeySyncError` if it is gone."""
    path = offered(own, kinds, weights).get(name)
    if path is None:
        places = " or ".join(f"models/{kind}" for kind in kinds)
        raise KeySyncError(f"{name} is not in {places}: put it there, or choose another file")
    return path


def fingerprint(path: Path) -> str:
    """Changes whenever a file, or one in a folder, does."""
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    return " ".join(f"{file.name} {file.stat().st_mtime_ns} {file.stat().st_size}" for file in files)


def _folders(kind: str, weights: Sequence[str]) -> dict[str, Path]:
    return {
        os.path.relpath(root, base): Path(root)
        for base in folder_paths.get_folder_paths(kind)
        for root, _, files in os.walk(base, followlinks=True)
        if root != base and "config.json" in files and not set(files).isdisjoint(weights)
    }


def _files(kind: str) -> Iterator[tuple[str, Path]]:
    for name in folder_paths.get_filename_list(kind):
        path = folder_paths.get_full_path(kind, name)
        if path is not None:
            yield name, Path(path)
