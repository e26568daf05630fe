"""Every node, input and output is explained: tooltips, a help page, and names in both languages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from .find_comfyui import ROOT
from .server import Server

LANGUAGES = ("en", "zh")


def nodes(server: Server) -> dict[str, Any]:
    found = {name: described for name, described in server.info.items() if name.startswith("KeySync")}
    assert found
    return found


def inputs(described: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for group in ("required", "optional"):
        for name, said in described["input"].get(group, {}).items():
            yield name, said[1] if len(said) > 1 else {}


def test_every_node_and_input_has_a_description(server: Server) -> None:
    silent = [name for name, described in nodes(server).items() if not described["description"]]
    silent += [
        f"{name}.{i}"
        for name, described in nodes(server).items()
        for i, said in inputs(described)
        if not said.get("tooltip")
    ]
    assert not silent
    assert {described["category"].partition("/")[0] for described in nodes(server).values()} == {"KeySync"}


def test_every_node_has_a_help_page_that_comfyui_serves(server: Server) -> None:
    for name, described in nodes(server).items():
        page = server.text(f"/extensions/keysync/docs/{name}.md")
        assert page.startswith(f"# {described['display_name']}\n"), name
        told = set(re.findall(r"^- \*\*(.+?)\*\*", page, re.MULTILINE))
        assert told == {input_name for input_name, _ in inputs(described)} | set(described["output_name"]), name
    pages = {path.stem for path in (ROOT / "web" / "docs").glob("*.md")}
    assert pages == set(nodes(server))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_node_is_named_in_each_language(server: Server, language: str) -> None:
    names = server.get("/i18n")[language]["nodeDefs"]
    assert names == json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    assert names.keys() == nodes(server).keys()
    for name, described in nodes(server).items():
        said = names[name]
        assert said["display_name"]
        assert said["description"]
        assert set(said["inputs"]) == {input_name for input_name, _ in inputs(described)}, name
        assert all(entry["name"] and entry["tooltip"] for entry in said["inputs"].values()), name
        assert [said["outputs"][str(place)]["name"] for place in range(len(described["output"]))], name
        assert len(said["outputs"]) == len(described["output"]), name
    if language == "en":
        assert {name: said["display_name"] for name, said in names.items()} == {
            name: described["display_name"] for name, described in nodes(server).items()
        }
