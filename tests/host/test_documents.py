"""Every node, input and output is explained: tooltips, a help page, and names in both languages."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ..documents import LOCALES, differences, documents, inputs_of, outputs_of
from .find_comfyui import ROOT
from .server import Server

LANGUAGES = ("en", "zh")


def nodes(server: Server) -> dict[str, Any]:
    found = {name: described for name, described in server.info.items() if name.startswith("KeySync")}
    assert found
    return found


def test_every_node_input_and_output_has_a_description(server: Server) -> None:
    silent = [name for name, described in nodes(server).items() if not described["description"]]
    for name, described in nodes(server).items():
        silent += [f"{name}.{i}" for i, tooltip, _ in inputs_of(described) if not tooltip]
        silent += [f"{name} -> {o}" for o, tooltip in outputs_of(described) if not tooltip]
    assert not silent
    assert {described["category"].partition("/")[0] for described in nodes(server).values()} == {"KeySync"}


def test_the_documents_say_what_the_nodes_say(server: Server) -> None:
    assert not (found := differences(documents(server.info))), found


def test_every_node_has_a_help_page_that_comfyui_serves(server: Server) -> None:
    for name, described in nodes(server).items():
        page = server.text(f"/extensions/keysync/docs/{name}.md")
        assert page.startswith(f"# {described['display_name']}\n"), name
        prose = page.partition("\n## Inputs\n")[0].partition("\n\n")[2]
        assert re.match(r"[A-Z]\w+ ", prose), f"{name}: no prose before its inputs"
    pages = {path.stem for path in (ROOT / "web" / "docs").glob("*.md")}
    assert pages == set(nodes(server))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_node_is_named_in_each_language(server: Server, language: str) -> None:
    names = server.get("/i18n")[language]["nodeDefs"]
    assert names == json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
    assert names.keys() == nodes(server).keys()
    for name, described in nodes(server).items():
        said = names[name]
        assert said["display_name"]
        assert said["description"]
        assert said["inputs"].keys() == {input_name for input_name, _, _ in inputs_of(described)}, name
        assert said["outputs"].keys() == {str(place) for place in range(len(described["output"]))}, name
        entries = {**said["inputs"], **said["outputs"]}
        assert not [entry for entry, texts in entries.items() if not (texts["name"] and texts["tooltip"])], name
