"""How a result says what of it is synthetic: metadata that machines read, and a signed manifest (C2PA).

The metadata are one line of JSON in the container's comment, which survives copies into other containers, and in mp4
and mov an XMP packet with IPTC's digital source type.
"""

from __future__ import annotations

import hashlib
import json
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.sax.saxutils import quoteattr

from . import __version__
from .errors import KeySyncError, install_line
from .imports import import_alone

# IPTC's term for a recording of which a trained model made a part.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
# Where the mark stands, the first of these that the file does not use for something else yet.
COMMENTS = ("comment", "description", "synopsis")
# Bytes of a file that is read for its digest alone, and the digits of it that are given.
MOST_READ, DIGITS = 64 * 2**20, 16
# What of a result is synthetic, and how a manifest describes it.
SYNTHETIC = {
    "lips": "The lips were generated from other speech.",
    "picture": "The video was generated from one picture and a sound.",
}
# Matroska takes tags of any name.
MATROSKA_TAG = "DIGITAL_SOURCE_TYPE"
# The box of ISO media files that holds XMP (XMP specification, part 3).
XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
# The formats in which a C2PA manifest can lie, by suffix.
SIGNED = {".mp4": "video/mp4", ".mov": "video/quicktime"}
# C2PA's names of the algorithms of keys: NIST's curves by size, Edwards', RSA.
ALGORITHMS = ("es256", "es384", "es512", "ed25519", "ps256", "ps384", "ps512")


def is_mark(tag: str) -> bool:
    """Whether a tag of a file is a mark of `Provenance.line`."""
    return tag.startswith('{"keysync": {"tool": "KeySync"')


@dataclass(frozen=True)
class Provenance:
    """What a result says of its making: `system` drew what is `synthetic` (a key of `SYNTHETIC`) with `models`, by
    their part in it.

    `sha256`: the first 16 hexadecimal digits of the SHA-256 of the models' files, by part, where they are known.
    """

    system: str
    models: Mapping[str, str] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    synthetic: str = "lips"

    @staticmethod
    def of(
        system: str, origins: Mapping[str, str], files: Mapping[str, Path] | None = None, synthetic: str = "lips"
    ) -> Provenance:
        """`origins` of models are files, of which only the names are given, or words such as "built in".

        `files` are those that hold the models. A file is read for its digest once in a process, and only if it has at
        most `MOST_READ` bytes: larger models, such as the published ones, and models in folders are named without.
        """
        digests = {part: _digest(file) for part, file in (files or {}).items()}
        return Provenance(
            system,
            {part: Path(origin).name for part, origin in origins.items()},
            {part: digest for part, digest in digests.items() if digest is not None},
            synthetic,
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "tool": "KeySync",
            "version": __version__,
            "synthetic": self.synthetic,
            "digitalSourceType": SOURCE_TYPE,
            "system": self.system,
            "models": dict(self.models),
            **({"sha256": dict(self.sha256)} if self.sha256 else {}),
        }

    def line(self) -> str:
        """One line of JSON in ASCII."""
        return json.dumps({"keysync": self.to_dict()})

    def xmp_box(self) -> bytes:
        """The XMP packet as a box to stand at the end of an mp4 or mov file."""
        packet = (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
            'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
            'xmlns:keysync="https://keysync.invalid/ns/1.0/" '
            f"xmp:CreatorTool={quoteattr(f'KeySync {__version__}')} "
            f"Iptc4xmpExt:DigitalSourceType={quoteattr(SOURCE_TYPE)} "
            f"keysync:provenance={quoteattr(self.line())}/>"
            '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
        ).encode()
        return struct.pack(">I4s16s", 24 + len(packet), b"uuid", XMP_BOX) + packet

    def manifest(self, title: str) -> dict[str, Any]:
        """The C2PA manifest of a result of this name."""
        agent = {"name": "KeySync", "version": __version__}
        action = {
            "action": "c2pa.created",
            "digitalSourceType": SOURCE_TYPE,
            "softwareAgent": agent,
            "description": SYNTHETIC[self.synthetic],
        }
        return {
            "title": title,
            "claim_generator_info": [agent],
            "assertions": [
                {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
                {"label": "com.keysync.provenance", "data": self.to_dict()},
            ],
        }


def _digest(file: Path) -> str | None:
    """The digest of a model's file; None if there is no such file, or if it is too large to be read for this alone."""
    try:
        state = file.stat()
        if not stat.S_ISREG(state.st_mode) or state.st_size > MOST_READ:
            return None
        return _digest_of(file, state.st_size, state.st_mtime_ns)
    except OSError:  # the model is loaded, so the result is sound without
        return None


@lru_cache
def _digest_of(file: Path, size: int, changed: int) -> str:
    """The digest of a file of this size, last changed at this time."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:DIGITS]


@dataclass(frozen=True)
class Signing:
    """The certificate chain and the private key, PEM files, that results are signed with."""

    certificate: Path
    key: Path
    algorithm: str = "es256"

    def check(self, path: Path) -> None:
        """Raises `KeySyncError` where a result at `path` cannot be signed: before any work."""
        if path.suffix.lower() not in SIGNED:
            raise KeySyncError(
                f"{path} cannot hold a C2PA manifest: expected {' or '.join(SIGNED)}; or leave it unsigned",
                about="c2pa",
            )
        if self.algorithm not in ALGORITHMS:
            raise KeySyncError(
                f"unknown algorithm {self.algorithm!r} for C2PA: choose one of {', '.join(ALGORITHMS)}", about="c2pa"
            )
        self._signer(_package()).close()

    def sign(self, source: Path, target: Path, title: str, provenance: Provenance) -> None:
        """Writes `source` with a signed manifest to `target`. Raises `KeySyncError` where that fails."""
        package = _package()
        kind = SIGNED[Path(title).suffix.lower()]
        with self._signer(package) as signer, package.Builder(provenance.manifest(title)) as builder:
            try:
                with source.open("rb") as unsigned, target.open("w+b") as signed:
                    builder.sign(signer, kind, unsigned, signed)
            except package.C2paError as error:
                raise KeySyncError(f"{title} cannot be signed: {_first_line(error)}", about="c2pa") from error

    def _signer(self, package: Any) -> Any:
        parts = []
        for file in (self.certificate, self.key):
            try:
                parts.append(file.read_bytes())
            except OSError as error:
                raise KeySyncError(f"cannot read {file} ({error.strerror}): check the path", about="c2pa") from error
        try:
            return package.Signer.from_info(package.C2paSignerInfo(self.algorithm.encode(), *parts, None))
        except package.C2paError as error:
            raise KeySyncError(
                f"{self.certificate} and {self.key} do not sign ({_first_line(error)}): expected PEM files of a "
                f"certificate chain and its private key, for {self.algorithm}",
                about="c2pa",
            ) from error


def _package() -> ModuleType:
    try:
        return import_alone("c2pa")
    except ImportError as error:
        raise KeySyncError(
            f"signing needs c2pa-python, which is not installed: {install_line('c2pa-python')}", about="c2pa"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
