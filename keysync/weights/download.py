"""Downloads published weights from their hub, by huggingface_hub: whole and checked, or not at all.

Until a file is whole it has another name, `.NAME.ETAG.part`; the next download of the same file continues it. The hub
is the one that `HF_ENDPOINT` names, and huggingface.co without it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from ..errors import KeySyncError, install_line, one_line
from ..imports import import_alone
from ..whole import lock, reason
from .published import HUB, PublishedFile, in_words

# An ETag of the hub is the SHA-256 of a large file; of a small one it is something else.
SHA256 = re.compile(r"[0-9a-f]{64}")
CHUNK = 2**24  # bytes
AGAIN = "check the connection and run the command again; it continues where it stopped"


def models_folder() -> Path:
    """The models folder of the ComfyUI in whose `custom_nodes` this library lies; elsewhere `models` in the current
    folder."""
    custom_nodes = Path(__file__).absolute().parents[3]
    comfyui = custom_nodes.parent
    if custom_nodes.name == "custom_nodes" and (comfyui / "folder_paths.py").is_file():
        return comfyui / "models"
    return Path("models")


def hub_address() -> str:
    """The address of the hub."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def place(file: PublishedFile, models: Path) -> Path:
    """Where a file belongs below a folder of models."""
    return models / file.directory / file.name


def fetch(file: PublishedFile, models: Path) -> str:
    """Downloads one file to its place below the folder `models`, which is created; returns what was done, in a line.

    A file that is there already is compared with the hub's and never replaced. Raises `KeySyncError` if huggingface_hub
    is not installed, the hub does not answer or does not give the file, the file in that place is another one, the disk
    is too small or cannot be written, or what arrives is not what was published.
    """
    hub = _huggingface_hub()
    target = place(file, models)
    with _explained(hub, file, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        url = hub.file_download.hf_hub_url(file.repository, file.path, revision=file.revision, endpoint=hub_address())
        headers = hub.utils.build_hf_headers(library_name="comfyui-keysync")
        stated = hub.file_download.get_hf_file_metadata(url, headers=headers, endpoint=hub_address())
        checksum = _checksum(file, stated.etag)
        if target.exists():
            return _kept(target, stated.size, checksum)
        partial = target.with_name(f".{target.name}.{re.sub(r'[^0-9A-Za-z]', '', stated.etag or '')[:16]}.part")
        with partial.open("ab") as stream:
            if lock(stream.fileno()) is False:
                raise KeySyncError(f"{target} is being downloaded by another process: wait until it has finished")
            _download(hub, url, headers, stream, stated.size, partial, file)
        found = _sha256(partial)
        if checksum not in (None, found):
            partial.unlink()
            raise KeySyncError(
                f"{file.name} arrived damaged (SHA-256 {found[:16]}..., expected {checksum[:16]}...): download it again"
            )
        partial.replace(target)
    return f"{target}: downloaded, SHA-256 {f'{found}, not compared' if checksum is None else 'as published'}"


def _huggingface_hub() -> ModuleType:
    try:
        for part in ("file_download", "errors", "utils"):
            import_alone(f"huggingface_hub.{part}")
    except ImportError as error:
        line = install_line("huggingface_hub>=1.31,<3")
        raise KeySyncError(f"downloads need huggingface_hub 1.31 or newer, which is not installed: {line}") from error
    # Of an interrupted transfer it warns each time it tries again; what it cannot mend is an error.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    return import_alone("huggingface_hub")


def _checksum(file: PublishedFile, etag: str | None) -> str | None:
    """The SHA-256 that a file must have, as far as the table or the hub says it."""
    stated = etag if etag and SHA256.fullmatch(etag) else None
    if file.sha256 and stated and file.sha256 != stated:
        raise KeySyncError(
            f"{hub_address()} offers another {file.name} than the published one (SHA-256 {stated[:16]}..., expected "
            f"{file.sha256[:16]}...): nothing is downloaded; see whether there is a newer version of KeySync"
        )
    return file.sha256 or stated


def _kept(target: Path, size: int | None, checksum: str | None) -> str:
    """What is said of a file that is there already; raises `KeySyncError` if it is another one."""
    same = size in (None, target.stat().st_size) and (checksum is None or _sha256(target) == checksum)
    if not same:
        raise KeySyncError(
            f"{target} exists and is not the published file: move it away first, or choose another folder", about="to"
        )
    return f"{target}: already there, {'size' if checksum is None else 'SHA-256'} as published"


def _download(
    hub: ModuleType,
    url: str,
    headers: dict[str, str],
    stream: BinaryIO,
    size: int | None,
    partial: Path,
    file: PublishedFile,
) -> None:
    """Appends to a file what it lacks."""
    held = stream.tell()
    if size is not None and held > size:  # not what the name says
        stream.truncate(0)
        held = 0
    missing = (size or file.size) - held
    free = shutil.disk_usage(partial.parent).free
    if free < missing:
        raise KeySyncError(
            f"{file.name} needs {in_words(missing)} and the disk of {partial.parent} has {in_words(free)} free: "
            "free some space or choose another folder",
            about="to",
        )
    hub.file_download.http_get(
        url, stream, resume_size=held, headers=headers, expected_size=size, displayed_filename=file.name
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _explained(hub: ModuleType, file: PublishedFile, target: Path) -> Iterator[None]:
    """Inside, errors of the hub, the network and the disk are a `KeySyncError` of one line."""
    errors = hub.errors
    where = f"{hub_address()}/{file.repository}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise KeySyncError(
            f"{file.name} is given only to those who accept its licence: accept it at {where}, then set HF_TOKEN to an "
            "access token of your account"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise KeySyncError(
            f"{where} does not hold {file.path} (revision {file.revision}): see whether there is a newer version of "
            "KeySync, or download it by hand"
        ) from error
    # The base class of all errors of the HTTP library below, and OSError.
    except errors.HfHubHTTPError.__bases__ as error:
        if isinstance(error, OSError) and error.errno is not None:
            what, remedy = reason(error, target)
            raise KeySyncError(f"{target} cannot be written: {what}: {remedy}", about="to") from error
        raise KeySyncError(f"{file.name} cannot be downloaded from {where}: {one_line(error)}: {AGAIN}") from error
