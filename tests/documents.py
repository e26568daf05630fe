"""The generated parts of the documents: `python -m tests.documents` writes them, and the workflows; tests compare.

README.md's tables come from the library's tables of choices and of published weights. The nodes' English texts, the
lists in the Chinese ones, the end of each help page and the table in docs/nodes.md come from what a ComfyUI says of the
nodes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from difflib import unified_diff
from pathlib import Path
from typing import Any

from keysync.choice import Choice, lines
from keysync.face.detectors import DETECTORS
from keysync.face.masks import MASKS
from keysync.speech.encoders import ENCODERS
from keysync.timeline import SYNC_MODES
from keysync.weights.published import PUBLISHED, in_words

from .host.find_comfyui import ROOT, find_comfyuis
from .host.make_workflows import files
from .host.server import Server

COMMAND = "python -m tests.documents"
CHOICES: dict[str, Mapping[str, Choice[..., Any]]] = {
    "MASKS": MASKS,
    "SYNC_MODES": SYNC_MODES,
    "DETECTORS": DETECTORS,
}
README = ROOT / "README.md"
# Tables of README.md of choices: the name between its markers, the heads of its columns.
README_CHOICES = {"SYNC_MODES": ("`--sync-mode`", "what happens"), "MASKS": ("`--mask`", "what is generated")}
NODES = ROOT / "docs" / "nodes.md"
LOCALES = ROOT / "locales"


def documents(info: Mapping[str, Any] | None) -> dict[Path, str]:
    """What each document must hold, by its path; without a ComfyUI's `info` only README.md."""
    made = {README: _readme(README.read_text(encoding="utf-8"))}
    if info is None:
        return made
    ours = {name: described for name, described in info.items() if name.startswith("KeySync")}
    made[NODES] = _nodes(NODES.read_text(encoding="utf-8"), ours)
    for name, described in ours.items():
        path = ROOT / "web" / "docs" / f"{name}.md"
        text = path.read_text(encoding="utf-8") if path.exists() else f"# {described['display_name']}\n"
        made[path] = _page(text, described)
    made[_locale("en")] = as_json({name: _english(described) for name, described in sorted(ours.items())})
    made[_locale("zh")] = as_json(_chinese(json.loads(_locale("zh").read_text(encoding="utf-8")), ours))
    return made


def differences(made: Mapping[Path, str]) -> str:
    """How the files differ from what they must hold, as a patch; empty where none does."""
    patches: list[str] = []
    for path, text in made.items():
        name = path.relative_to(ROOT).as_posix()
        old = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        patches += unified_diff(old, text.splitlines(), name, f"{name} ({COMMAND})", n=0, lineterm="")
    return "\n".join(patches)


def inputs_of(described: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Name and tooltip of each input of a node, and whether it is optional."""
    for group in ("required", "optional"):
        for name, said in described["input"].get(group, {}).items():
            yield name, said[1].get("tooltip") or "" if len(said) > 1 else "", group == "optional"


def outputs_of(described: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and tooltip of each output of a node."""
    for name, tooltip in zip(described["output_name"], described["output_tooltips"], strict=True):
        yield name, tooltip or ""


def as_json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _locale(language: str) -> Path:
    return LOCALES / language / "nodeDefs.json"


def _readme(text: str) -> str:
    for name, rows in _readme_tables().items():
        begin, end = f"<!-- {name}, by {COMMAND} -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        assert after, f"README.md has no {begin.strip()} ... {end.strip()}"
        text = before + begin + _table(*rows) + end + after
    return text


def _readme_tables() -> dict[str, list[tuple[str, ...]]]:
    """The rows of each table, heads first, by the name between its markers."""
    tables: dict[str, list[tuple[str, ...]]] = {
        name: [heads, *((f"`{row}`", choice.text) for row, choice in CHOICES[name].items())]
        for name, heads in README_CHOICES.items()
    }
    tables["PUBLISHED"] = [("what", "file", "folder under `models/`", "source", "size", "licence")]
    tables["PUBLISHED"] += [
        (
            file.what,
            f"`{file.name}`",
            f"`{file.directory}`",
            f"[{file.repository}]({file.source}), {file.owner}",
            in_words(file.size),
            file.licence,
        )
        for file in PUBLISHED
    ]
    return tables


def _nodes(text: str, ours: Mapping[str, Any]) -> str:
    before, _, rest = text.partition("## Nodes\n")
    after = rest[rest.index("## Workflows\n") :]
    rows = [(f"[{node['display_name']}](../web/docs/{name}.md)", node["description"]) for name, node in ours.items()]
    return f"{before}## Nodes\n\n{_table(('node', 'what it does'), *rows)}\n{after}"


def _table(*rows: tuple[str, ...]) -> str:
    head, *rest = (f"| {' | '.join(row)} |\n" for row in rows)
    return "".join((head, f"|{'---|' * len(rows[0])}\n", *rest))


def _page(text: str, described: Mapping[str, Any]) -> str:
    """A help page: its prose, then the inputs and outputs as the node describes them."""
    inputs = [_entry(f"**{name}**{' (optional)' * optional}", tip) for name, tip, optional in inputs_of(described)]
    outputs = [_entry(f"**{name}**", tip) for name, tip in outputs_of(described)]
    prose = text.partition("\n## Inputs\n")[0]
    return f"{prose}\n## Inputs\n\n{''.join(inputs)}\n## Outputs\n\n{''.join(outputs)}"


def _entry(name: str, tooltip: str) -> str:
    first, *others = tooltip.splitlines() or [""]
    return "".join((f"- {name}: {first}\n", *(f"  - {line}\n" for line in others)))


def _english(described: Mapping[str, Any]) -> dict[str, Any]:
    """A node's texts as the frontend's translations hold them."""
    return {
        "display_name": described["display_name"],
        "description": described["description"],
        "inputs": {name: {"name": name, "tooltip": tip} for name, tip, _ in inputs_of(described)},
        "outputs": {
            str(place): {"name": name, "tooltip": tip} for place, (name, tip) in enumerate(outputs_of(described))
        },
    }


def _chinese(texts: dict[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """The Chinese texts, written by hand but for the lists of choices in their tooltips."""
    for name, described in ours.items():
        inputs = texts.get(name, {}).get("inputs", {})
        for input_name, english, _ in inputs_of(described):
            if input_name in inputs:
                inputs[input_name]["tooltip"] = _with_list(english, inputs[input_name]["tooltip"])
    return dict(sorted(texts.items()))


def _with_list(english: str, chinese: str) -> str:
    """A Chinese tooltip with the list of choices that the English one has, at the same line."""
    said, here = english.splitlines(), chinese.splitlines()
    for listed, translated in _lists():
        for at in range(len(said) - len(listed) + 1):
            if tuple(said[at : at + len(listed)]) == listed:
                after = len(said) - at - len(listed)
                return "\n".join((*here[:at], *translated, *here[len(here) - after :]))
    return chinese


def _lists() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Each list of choices in English and in Chinese; what is not translated stays English."""
    for choices in CHOICES.values():
        yield lines(choices), tuple(f"{name}: {choice.zh or choice.text}" for name, choice in choices.items())
    encoders = ENCODERS.values()
    yield tuple(encoder.files for encoder in encoders), tuple(encoder.files_zh or encoder.files for encoder in encoders)


def main() -> None:
    comfyui = next((comfyui for comfyui in find_comfyuis() if comfyui.python), None)
    if comfyui is None:
        _write(documents(None))
        sys.exit("wrote README.md only: the nodes' texts need a ComfyUI, name one in COMFYUI_PATH")
    with tempfile.TemporaryDirectory() as base:
        server = Server(comfyui, Path(base))
        try:
            _write(documents(server.info) | {path: as_json(content) for path, content in files(server.info).items()})
        finally:
            server.stop()


def _write(made: Mapping[Path, str]) -> None:
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
