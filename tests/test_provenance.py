"""Results say that their lips are synthetic: to programs that read metadata, and signed where a key is given."""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import struct
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import av
import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import keysync
from keysync.cli import main
from keysync.dub import Settings
from keysync.errors import KeySyncError
from keysync.job import FaceSource, check_job, dub_file
from keysync.media.info import PictureFormat
from keysync.media.writer import VideoWriter
from keysync.provenance import MOST_READ, SOURCE_TYPE, XMP_BOX, Provenance, Signing, is_mark
from keysync.systems.keysync.models import Models

from .clips import CheapStages, picture, read_frames, write_landmarks, write_speech, write_video
from .synthetic_face import face_points

LIKE = PictureFormat(96, 80, Fraction(1, 25), Fraction(25))
MARK = Provenance.of("KeySync", {"keyframe": "/secret/place/k.pt", "vae": "KeySync small, built in"})
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {
        "video": write_video(tmp_path / "in.mp4", [picture(n) for n in range(6)]),
        "audio": write_speech(tmp_path / "speech.wav", 0.24),
        "landmarks": write_landmarks(tmp_path / "face.json", [face_points((46, 36), 30)] * 6),
    }


def write(path: Path, frames: int = 3, **how: Any) -> Path:
    with VideoWriter(path, LIKE, **how) as writer:
        for number in range(frames):
            writer.write(picture(number), number)
    return path


def tags(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        return {name.lower(): value for name, value in container.metadata.items()}


def boxes(path: Path) -> list[tuple[bytes, bytes]]:
    """The boxes at the top of an mp4 or mov file: kind and content."""
    found, content = [], path.read_bytes()
    while content:
        size, kind = struct.unpack(">I4s", content[:8])
        assert 8 <= size <= len(content)
        found.append((kind, content[8:size]))
        content = content[size:]
    return found


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_every_container_carries_the_mark(suffix: str, tmp_path: Path) -> None:
    plain = read_frames(write(tmp_path / f"plain.{suffix}"))
    path = write(tmp_path / f"marked.{suffix}", provenance=MARK)
    assert json.loads(tags(path)["comment"]) == {
        "keysync": {
            "tool": "KeySync",
            "version": keysync.__version__,
            "synthetic": "lips",
            "digitalSourceType": SOURCE_TYPE,
            "system": "KeySync",
            "models": {"keyframe": "k.pt", "vae": "KeySync small, built in"},
        }
    }
    assert b"secret" not in path.read_bytes()
    assert all(np.array_equal(*pair) for pair in zip(plain, read_frames(path), strict=True))
    if suffix == "mkv":
        assert tags(path)["digital_source_type"] == SOURCE_TYPE


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_xmp_says_the_digital_source_type(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"marked.{suffix}", provenance=MARK)
    kinds = [kind for kind, _ in boxes(path)]
    assert kinds.index(b"moov") < kinds.index(b"mdat") < kinds.index(b"uuid")  # it still starts fast
    (packet,) = (content[16:] for kind, content in boxes(path) if kind == b"uuid" and content.startswith(XMP_BOX))
    (description,) = ElementTree.fromstring(packet).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert description.attrib[IPTC] == SOURCE_TYPE
    assert description.attrib["{http://ns.adobe.com/xap/1.0/}CreatorTool"] == f"KeySync {keysync.__version__}"


def test_models_are_named_by_their_files_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is read once; none is read that is large, and what is no file has no digest."""
    small, large, edge = (tmp_path / name for name in ("small.pt", "large.pt", "edge.pt"))
    small.write_bytes(b"weights")
    for file, size in ((large, MOST_READ + 1), (edge, MOST_READ)):
        with file.open("wb") as opened:
            opened.truncate(size)
    read: list[str] = []
    plain = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or plain(path))  # type: ignore[func-returns-value]
    held = {"a": small, "b": large, "c": edge, "d": tmp_path, "e": tmp_path / "gone.pt"}
    marks = [Provenance.of("KeySync", {"a": str(small)}, held) for _ in range(3)]
    digests = {"a": hashlib.sha256(b"weights").hexdigest()[:16], "c": hashlib.sha256(bytes(MOST_READ)).hexdigest()[:16]}
    assert all(mark.to_dict()["sha256"] == digests for mark in marks)
    assert read == ["small.pt", "edge.pt"]
    small.write_bytes(b"other weights")
    assert Provenance.of("KeySync", {}, held).sha256["a"] == hashlib.sha256(b"other weights").hexdigest()[:16]


@pytest.mark.parametrize("target", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("source", ["mp4", "mov", "mkv"])
def test_the_mark_survives_a_copy_of_the_streams(source: str, target: str, tmp_path: Path) -> None:
    # Of a short Matroska file no packet says when it is decoded.
    path, copy = write(tmp_path / f"marked.{source}", 30, provenance=MARK), tmp_path / f"copy.{target}"
    with av.open(str(path)) as read, av.open(str(copy), "w") as written:
        written.metadata.update(read.metadata)
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)
    assert json.loads(tags(copy)["comment"])["keysync"]["digitalSourceType"] == SOURCE_TYPE


def test_a_dub_is_marked_and_can_be_told_not_to(
    files: dict[str, Path], models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    CheapStages().install(monkeypatch)
    face = FaceSource(landmarks=files["landmarks"])
    rest = files["video"], files["audio"]
    report = dub_file(*rest, tmp_path / "marked.mp4", models, Settings(), face)
    told = json.loads(tags(tmp_path / "marked.mp4")["comment"])["keysync"]
    assert told == report.provenance
    assert told["models"] == {name: Path(origin).name for name, origin in models.origins.items()}
    files_of_one = {name: file for name, file in models.files.items() if file.is_file()}
    assert {"keyframe", "interpolation"} <= files_of_one.keys()
    assert told["sha256"] == {
        name: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for name, file in files_of_one.items()
    }
    report = dub_file(*rest, tmp_path / "plain.mp4", models, Settings(provenance=False), face)
    assert report.provenance is None
    assert "comment" not in tags(tmp_path / "plain.mp4")
    assert b"digitalsourcetype" not in (tmp_path / "plain.mp4").read_bytes()


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("taken", [["comment"], ["comment", "description"], ["comment", "description", "synopsis"]])
def test_tags_of_the_source_stay_beside_the_mark(
    suffix: str,
    taken: list[str],
    files: dict[str, Path],
    models: Models,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    CheapStages().install(monkeypatch)
    video = tmp_path / f"tagged.{suffix}"
    with av.open(str(files["video"])) as read, av.open(str(video), "w") as written:
        written.metadata.update({name: f"my own {name}" for name in taken})
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)
    face, output = FaceSource(landmarks=files["landmarks"]), tmp_path / f"out.{suffix}"
    own = {name: value for name, value in tags(video).items() if name in taken}
    assert "comment" in own
    report = dub_file(video, files["audio"], output, models, Settings(), face)
    found = tags(output)
    marks = [line for value in found.values() for line in value.splitlines() if is_mark(line)]
    assert [json.loads(mark)["keysync"] for mark in marks] == [report.provenance]
    assert all(value in found[name] for name, value in own.items())


def test_a_dub_of_a_dub_has_one_mark(
    files: dict[str, Path], models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    CheapStages().install(monkeypatch)
    face = FaceSource(landmarks=files["landmarks"])
    for source, result in (("in.mp4", "one.mkv"), ("one.mkv", "two.mov"), ("two.mov", "three.mp4")):
        dub_file(tmp_path / source, files["audio"], tmp_path / result, models, Settings(), face)
        assert [name for name, value in tags(tmp_path / result).items() if is_mark(value)] == ["comment"]


def test_the_switch_of_the_command_line(
    files: dict[str, Path], models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    CheapStages().install(monkeypatch)
    monkeypatch.setattr("keysync.systems.keysync.models.load_models", lambda *_, **__: models)
    line = ["dub", *map(str, (files["video"], files["audio"], "--landmarks", files["landmarks"]))]
    for options, marked in (([], True), (["--no-provenance"], False)):
        output, report = tmp_path / "out.mp4", tmp_path / "report.json"
        assert main([*line, "-o", str(output), "--report", str(report), *options]) == 0
        assert ("comment" in tags(output)) == marked
        assert (json.loads(report.read_text())["provenance"] is not None) == marked


# Signed


def certificate(folder: Path) -> Signing:
    """A certificate of a root of its own, and its key."""
    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = _certificate("Leaf", leaf, root, ca=False) + _certificate("Root", root, root, ca=True)
    (folder / "chain.pem").write_bytes(chain)
    pem = serialization.Encoding.PEM
    secret = leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(secret)
    return Signing(folder / "chain.pem", folder / "key.pem")


def _certificate(name: str, key: Any, signer: Any, *, ca: bool) -> bytes:
    def named(common: str) -> x509.Name:
        parts = {NameOID.ORGANIZATION_NAME: "Test", NameOID.COMMON_NAME: common}
        return x509.Name([x509.NameAttribute(part, value) for part, value in parts.items()])

    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    public = key.public_key()
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    builder = (
        x509.CertificateBuilder(named("Root"), named(name), public, x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=ca, crl_sign=ca, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_a_signed_manifest(suffix: str, tmp_path: Path) -> None:
    signing = certificate(tmp_path)
    path = write(tmp_path / f"signed.{suffix}", provenance=MARK, signing=signing)
    kind = {"mp4": "video/mp4", "mov": "video/quicktime"}[suffix]
    with c2pa.Reader(kind, io.BytesIO(path.read_bytes())) as reader:
        told = json.loads(reader.json())
    assert told["validation_state"] == "Valid"
    manifest = told["manifests"][told["active_manifest"]]
    assert manifest["title"] == path.name
    data = {assertion["label"]: assertion["data"] for assertion in manifest["assertions"]}
    assert data["c2pa.actions.v2"]["actions"][0]["digitalSourceType"] == SOURCE_TYPE
    assert data["com.keysync.provenance"] == MARK.to_dict()
    assert len(read_frames(path)) == 3
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, "chain.pem", "key.pem"}


def test_what_cannot_sign_is_known_before_any_work(files: dict[str, Path], tmp_path: Path) -> None:
    signing = certificate(tmp_path)

    def refused(output: str, settings: Settings) -> str:
        with pytest.raises(KeySyncError) as caught:
            check_job(files["video"], files["audio"], tmp_path / output, settings)
        assert caught.value.about == "c2pa"
        assert "\n" not in str(caught.value)
        return str(caught.value)

    check_job(files["video"], files["audio"], tmp_path / "out.mp4", Settings(signing=signing))
    assert "out.mkv cannot hold a C2PA manifest: expected .mp4 or .mov" in refused("out.mkv", Settings(signing=signing))
    assert "leave provenance on" in refused("out.mp4", Settings(signing=signing, provenance=False))
    nowhere = Signing(signing.certificate, tmp_path / "no.pem")
    assert "cannot read" in refused("out.mp4", Settings(signing=nowhere))
    swapped = Signing(signing.key, signing.certificate)
    assert "expected PEM files of a certificate chain and its private key" in refused(
        "o.mp4", Settings(signing=swapped)
    )
    unknown = Signing(signing.certificate, signing.key, "rot13")
    assert "unknown algorithm 'rot13' for C2PA: choose one of es256" in refused("out.mp4", Settings(signing=unknown))


def test_without_the_package_its_install_line_is_said(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    signing = certificate(tmp_path)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    line = ["dub", str(files["video"]), str(files["audio"]), "-o", str(tmp_path / "out.mp4")]
    assert main([*line, "--c2pa", str(signing.certificate), str(signing.key)]) == 1
    said = capsys.readouterr().err
    assert "signing needs c2pa-python, which is not installed: " in said
    assert said.endswith("-m pip install c2pa-python (--c2pa)\n")


def test_a_signature_that_fails_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a stand-in for the package: its signer fails at the end, after all the work."""

    class Failing(SimpleNamespace):
        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None: ...

        def close(self) -> None: ...

        def sign(self, *_: object) -> None:
            raise c2pa.C2paError("Other: no\nmore")

    stand_in = ModuleType("c2pa")
    parts: dict[str, Callable[..., Any]] = {"Builder": Failing, "C2paSignerInfo": lambda *_: None}
    vars(stand_in).update(parts, C2paError=c2pa.C2paError, Signer=SimpleNamespace(from_info=lambda _: Failing()))
    monkeypatch.setitem(sys.modules, "c2pa", stand_in)
    monkeypatch.setattr(Failing, "__init__", lambda self, *_: None)
    signing = certificate(tmp_path)
    path = tmp_path / "signed.mp4"
    path.write_bytes(b"older")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeySyncError, match=r"signed\.mp4 cannot be signed: Other: no$"):
        write(path, provenance=MARK, signing=signing)
    assert path.read_bytes() == b"older"
    assert sorted(tmp_path.iterdir()) == before
