"""What the README says to type can be typed: its library examples run, its commands are parsed, its targets exist."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from keysync import cli
from keysync.demo import TALK
from keysync.media import VideoReader
from keysync.systems.keysync.small import SMALL
from training import train
from training.config.config import TrainConfig

from .clips import write_speech
from .conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
# A clause of a shell line may follow the words of a loop.
CLAUSE = re.compile(r"^(?:do\s+)?(keysync|python -m training\.\w+)\s+(.*)$")
# The least that each command takes.
LEAST = {
    "keysync": "inspect FILE",
    "python -m training.prepare": "VIDEOS -o DATA",
    "python -m training.train": "keyframe --data DATA --out RUN",
    "python -m training.export": "RUN -o FILE",
    "python -m training.small": "-o FOLDER",
    "python -m training.evaluate": "",
    "python -m training.cost": "",
}
# Options of torchrun, tensorboard and ruff, and a word that stands for any setting.
FOREIGN = {"--nproc-per-node", "--logdir", "--check", "--key"}


def clauses() -> Iterator[str]:
    """Every command of the README's shell blocks: comments left out, continued lines joined, chains parted."""
    for language, block in BLOCKS:
        if language in ("sh", "bat"):
            text = re.sub(r"\s#.*$", "", block, flags=re.MULTILINE).replace("\\\n", " ")
            yield from (clause.strip() for clause in re.split(r"&&|;|\n", text) if clause.strip())
    yield from re.findall(r"`((?:keysync|python -m training\.\w+) [^`]*)`", README)


COMMANDS = [found.groups() for clause in clauses() if (found := CLAUSE.match(clause))]


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
            parsed = parse(self, *given, **options)  # type: ignore[arg-type]
        finally:
            depth -= 1
        if depth == 0:
            seen.append(self)
            raise Parsed
        return parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", watched)
    return seen


def run(command: str, words: Sequence[str]) -> int:
    module = cli if command == "keysync" else importlib.import_module(command.removeprefix("python -m "))
    if hasattr(module, "__path__"):  # of a package `python -m` runs this
        module = importlib.import_module(f"{module.__name__}.__main__")
    code: int = module.main(words)
    return code


def test_the_readme_shows_every_command() -> None:
    assert {words.split()[0] for command, words in COMMANDS if command == "keysync"} == {
        *("demo", "dub", "inspect", "convert")
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


@pytest.mark.parametrize("words", [words for command, words in COMMANDS if command == "python -m training.train"])
def test_settings_of_training_are_settings(words: str) -> None:
    config, _ = train.parse(shlex.split(words))
    assert config.stage in words


def test_every_option_is_one_of_ours(parsers: list[argparse.ArgumentParser]) -> None:
    for command, words in LEAST.items():
        with pytest.raises(Parsed):
            run(command, words.split())
    known = {f"--{setting.name.replace('_', '-')}" for setting in fields(TrainConfig)} | FOREIGN
    for parser in parsers:
        known |= set(options_of(parser))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) <= known


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from options_of(inner)


def test_make_has_the_targets() -> None:
    targets = set(re.findall(r"(?<=[`\n])make ([a-z][\w-]*)", README))
    assert targets == {"bare", "bench", "check", "demo", "test"}
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_what_it_installs_by_hand_is_offered() -> None:
    extras = re.findall(r'-e "\.\[([\w,]+)\]"', README)
    assert extras
    offered = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", offered, re.MULTILINE) for one in extras for extra in one.split(","))


def test_inspect_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keysync", ["inspect", str(SMALL["keyframe"])]) == 0
    assert "keyframe" in capsys.readouterr().out


def test_the_library_examples_run(tiny_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's clip with the built-in model, cut short by the speech; tiny files stand for published ones."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(TALK, "talk.mp4")
    write_speech(tmp_path / "speech.wav", 1.2)
    for name, file in tiny_files.items():
        Path(f"{name}{file.suffix}").symlink_to(file, target_is_directory=file.is_dir())
    examples = [block for language, block in BLOCKS if language == "python"]
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, "README.md", "exec"), {})
    assert len(VideoReader(tmp_path / "out.mp4").timestamps()) == 30
    assert (tmp_path / "report.json").stat().st_size > 0
