"""Every node is found by what people type into the node search."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import fields
from types import ModuleType

import pytest
from comfy_api.latest import io

TYPED = ("lip sync", "lipsync", "lip-sync", "口型", "对口型", "唇形")
DUBBING = ("dubbing", "dub", "talking head", "配音")
MAKE_LIPS = ("KeySyncLipSync", "KeySyncDubVideo", "KeySyncSampleKeyframes", "KeySyncInterpolateKeyframes")


@pytest.fixture(scope="module")
def schemas(extension: ModuleType) -> dict[str, io.Schema]:
    """The schemas of all nodes, by node id, as ComfyUI asks for them."""
    loaded = asyncio.run(extension.comfy_entrypoint())
    found = [node.GET_SCHEMA() for node in asyncio.run(loaded.get_node_list())]
    return {schema.node_id: schema for schema in found}


def test_every_node_has_aliases_where_comfyui_has_a_field_for_them(schemas: dict[str, io.Schema]) -> None:
    assert len(schemas) > 10
    if "search_aliases" not in {field.name for field in fields(io.Schema)}:  # type: ignore[arg-type]
        assert not [name for name, schema in schemas.items() if hasattr(schema, "search_aliases")]
        return
    aliases = {name: schema.search_aliases for name, schema in schemas.items()}
    assert not {name: words for name, words in aliases.items() if not set(TYPED) <= set(words)}
    assert not {name: aliases[name] for name in MAKE_LIPS if not set(DUBBING) <= set(aliases[name])}
    assert not {name: words for name, words in aliases.items() if len(set(words)) < len(words)}


def test_the_table_names_nodes_that_are_there(schemas: dict[str, io.Schema]) -> None:
    table = importlib.import_module("keysync_extension.nodes.host.search").ALIASES
    assert not set(table) - set(schemas)


def test_the_name_of_dub_video_is_a_search_term(schemas: dict[str, io.Schema]) -> None:
    assert "Lip Sync" in getattr(schemas["KeySyncDubVideo"], "display_name", "")
