"""What the documents say to type can be typed: library examples run, commands are parsed, targets and links exist."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from keysync import cli
from keysync.demo import TALK
from keysync.media.reader import VideoReader
from keysync.systems.keysync.small import SMALL
from training import train
from training.config.config import TrainConfig, preset_of
from training.flashlips.config import FlashLipsConfig

from .clips import write_speech
from .conftest import ROOT

DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md"))
}
ALL = "\n".join(DOCUMENTS[name] for name in sorted(DOCUMENTS) if name != "CHANGELOG.md")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", ALL, re.MULTILINE | re.DOTALL)
BENCH = "python -m tests.bench"
# A clause of a shell line may follow the words of a loop.
CLAUSE = re.compile(
    r"^(?:do\s+)?(keysync"
    r"|python -m training\.(?:synthetic\.data|synthetic\.measure\.head_meter_training|small\.(?:keyface|flashlips)|\w+)"
    rf"|{re.escape(BENCH)})\s+(.*)$"
)
# The least that each command takes.
LEAST = {
    "keysync": "inspect FILE",
    "python -m training.prepare": "VIDEOS -o DATA",
    "python -m training.verify": "DATA",
    "python -m training.train": "keyframe --data DATA --out RUN",
    "python -m training.export": "RUN -o FILE",
    "python -m training.small": "-o FOLDER",
    "python -m training.small.keyface": "-o FOLDER",
    "python -m training.small.flashlips": "-o FOLDER",
    "python -m training.evaluate": "",
    "python -m training.benchmark": "CLIPS -o FOLDER",
    "python -m training.vote": "FOLDER",
    "python -m training.cost": "",
    "python -m training.person": "VIDEO -o FOLDER",
    "python -m training.sweep": "",
    "python -m training.synthetic.data": "-o DATA --vae VAE",
    "python -m training.synthetic.measure.head_meter_training": "-o FILE",
    BENCH: "",
}
# Options of torchrun, SLURM, Ray, tensorboard, ruff, mypy and the commands of small networks, and two words for any
# setting and for the help of all.
FOREIGN = {
    *(
        "--nproc-per-node",
        "--nnodes",
        "--node-rank",
        "--rdzv-backend",
        "--rdzv-endpoint",
        "--rdzv-id",
        "--nodes",
        "--ntasks-per-node",
        "--gpus-per-node",
        "--cpus-per-task",
        "--signal",
        "--requeue",
        "--open-mode",
        "--people",
        "--first",
        "--frames",
        "--photographs",
        "--together",
        "--logdir",
        "--check",
        "--strict",
        "--key",
        "--help",
    ),
}
# A file or folder of the project in the text of a document.
NAMED = re.compile(r"`((?:keysync|nodes|training|tests|web|locales|docs|workflows)/[\w./-]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)")


def clauses() -> Iterator[str]:
    """Every command in shell blocks and in the text: comments left out, continued lines joined, chains parted."""
    for language, block in BLOCKS:
        if language in ("sh", "bat"):
            text = re.sub(r"\s#.*$", "", block, flags=re.MULTILINE).replace("\\\n", " ")
            yield from (clause.strip() for clause in re.split(r"&&|;|\n", text) if clause.strip())
    yield from re.findall(rf"`((?:keysync|python -m training\.\w+|{re.escape(BENCH)})\s[^`]*)`", ALL)


TORCHRUN = sorted(
    {
        clause.partition("torchrun ")[2]
        for clause in (*clauses(), *re.findall(r"`(torchrun\s[^`]*)`", ALL))
        if re.match(r"(srun )?torchrun\s", clause)
    }
)
COMMANDS = sorted({found.groups() for clause in clauses() if (found := CLAUSE.match(" ".join(clause.split())))})


class Parsed(Exception):
    pass


@pytest.fixture
def parsers(monkeypatch: pytest.MonkeyPatch) -> list[argparse.ArgumentParser]:
    """Whatever parses a command line to its end is put in here, and the command goes no further."""
    seen: list[argparse.ArgumentParser] = []
    depth = 0
    parse = argparse.ArgumentParser.parse_known_args

    def watched(self: argparse.ArgumentParser, *given: object, **options: object) -> object:
        nonlocal depth
        depth += 1
        try:
            parsed = parse(self, *given, **options)
        finally:
            depth -= 1
        if depth == 0:
            seen.append(self)
            raise Parsed
        return parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", watched)
    return seen


def run(command: str, words: Sequence[str]) -> int:
    if command == BENCH:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [command, *words])
            importlib.import_module(".bench.__main__", __package__).main()
        return 0
    module = cli if command == "keysync" else importlib.import_module(command.removeprefix("python -m "))
    if hasattr(module, "__path__"):  # of a package `python -m` runs this
        module = importlib.import_module(f"{module.__name__}.__main__")
    code: int = module.main(words)
    return code


def test_the_documents_show_every_command() -> None:
    assert {words.split()[0] for command, words in COMMANDS if command == "keysync"} == {
        *("animate", "demo", "dub", "batch", "live", "measure", "compare", "download", "inspect", "convert")
    }
    assert {command for command, _ in COMMANDS} >= LEAST.keys() - {
        "python -m training.evaluate",
        "python -m training.cost",
    }


@pytest.mark.parametrize(("command", "words"), COMMANDS)
def test_command_is_parsed(command: str, words: str, parsers: list[argparse.ArgumentParser]) -> None:
    given = [word for word in shlex.split(words) if word != "..."]
    if command == "python -m training.train" and given:
        with pytest.raises(Parsed):
            train.parse(given)
    else:
        with pytest.raises(Parsed):
            run(command, given)
    assert parsers


@pytest.mark.parametrize("words", TORCHRUN)
def test_torchrun_leaves_our_options_to_us(words: str) -> None:
    from torch.distributed.run import get_args_parser

    parsed = get_args_parser().parse_args(shlex.split(words.replace('"$SLURM_NNODES"', "4")))
    assert (parsed.module, parsed.training_script) == (True, "training.train")
    given = [word for word in parsed.training_script_args if word != "..."]
    if given:
        config, _ = train.parse(given)
        assert preset_of(config.stage) in given


@pytest.mark.parametrize("words", [words for command, words in COMMANDS if command == "python -m training.train"])
def test_settings_of_training_are_settings(words: str) -> None:
    config, _ = train.parse(shlex.split(words))
    assert preset_of(config.stage) in words


def test_every_option_is_one_of_ours(parsers: list[argparse.ArgumentParser]) -> None:
    for command, words in LEAST.items():
        with pytest.raises(Parsed):
            run(command, words.split())
    settings = {setting.name for config in (TrainConfig, FlashLipsConfig) for setting in fields(config)}
    known = {f"--{name.replace('_', '-')}" for name in settings} | FOREIGN
    for parser in parsers:
        known |= set(options_of(parser))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", ALL)) <= known


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from options_of(inner)


def test_make_has_the_targets() -> None:
    targets = set(re.findall(r"(?<=[`\n])make ([a-z][\w-]*)", ALL))
    assert targets == {"bare", "bench", "bench-gpu", "check", "demo", "fuzz", "test"}
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_what_it_installs_by_hand_is_offered() -> None:
    extras = re.findall(r'-e "\.\[([\w,]+)\]"', ALL)
    assert extras
    offered = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", offered, re.MULTILINE) for one in extras for extra in one.split(","))


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_links_and_files_that_are_named_exist(name: str) -> None:
    text = DOCUMENTS[name]
    near = [target for target in LINK.findall(text) if ":" not in target]
    missing = [target for target in near if not (ROOT / name).parent.joinpath(target).exists()]
    missing += [named for named in NAMED.findall(text) if not (ROOT / named).exists()]
    assert not missing


def test_every_node_and_workflow_is_shown() -> None:
    page = DOCUMENTS["docs/nodes.md"]
    names = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    rows = re.findall(r"^\| \[(.+?)\]\(\.\./web/docs/(\w+)\.md\) \|", page, re.MULTILINE)
    assert {node: title for title, node in rows} == {node: said["display_name"] for node, said in names.items()}
    shown = set(re.findall(r"^### (\w+)$", page, re.MULTILINE))
    assert shown == {path.stem for path in (ROOT / "workflows").glob("*.json")}
    assert all(f"](../workflows/{name}.jpg)" in page for name in shown)


def test_inspect_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keysync", ["inspect", str(SMALL["keyframe"])]) == 0
    assert "keyframe" in capsys.readouterr().out


def test_the_library_examples_run(tiny_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all documents; with the demo's clip, cut short by the speech. Tiny files stand for published ones."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(TALK, "talk.mp4")
    write_speech(tmp_path / "speech.wav", 1.2)
    for name, file in tiny_files.items():
        Path(f"{name}{file.suffix}").symlink_to(file, target_is_directory=file.is_dir())
    examples = [block for language, block in BLOCKS if language == "python"]
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, "example", "exec"), {})
    assert len(VideoReader(tmp_path / "out.mp4").timestamps()) == 30
    assert (tmp_path / "report.json").stat().st_size > 0
