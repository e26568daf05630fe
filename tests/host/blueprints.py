"""The blueprints, each written once: graphs that ComfyUI's node library offers as one node, in `subgraphs/`."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from keysync.systems.table import AUTOMATIC

from .graph import SOCKET, WIDGET, WIDTH, Graph, Info, Link, Node, to_workflow
from .workflows import COLUMN, dub_video, load_published

# The numbers that stand for the two ends of a subgraph; pixels of an end, and between it and the nodes.
INSIDE, OUTSIDE = -10, -20
END, APART = 160, 100
LINK = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
CATEGORY = "Video generation and editing/Lip sync"
ALIASES = ["lip sync", "lipsync", "dub", "dubbing", "talking head", "口型同步", "配音"]


@dataclass(frozen=True)
class Blueprint:
    """A graph, and what of it the one node has: inputs of inner nodes, of which widgets stay widgets, and outputs."""

    description: str
    graph: Graph
    inputs: tuple[tuple[Node, str], ...]
    outputs: tuple[Link, ...]


def lip_sync() -> Blueprint:
    graph = Graph()
    dubbed = graph.add("KeySyncLipSync", (0, 0), system=AUTOMATIC.name)
    names = ("video", "audio", "system", "strength", "sync_mode", "face_index")
    return Blueprint(
        "Dubs a video with what is built in: a video and new speech in, the video with lips that follow the speech "
        "out. Nothing is downloaded.",
        graph,
        tuple((dubbed, name) for name in names),
        (dubbed["video"], dubbed["summary"]),
    )


def lip_sync_published() -> Blueprint:
    graph = Graph()
    models = load_published(graph)
    dubbed = dub_video(graph, models, (COLUMN, 0))
    names = ("video", "audio", "audio_guidance", "identity_guidance", "seed", "sync_mode", "face_index")
    return Blueprint(
        "Dubs a real face with the published models of KeySync: a video and new speech in, the video with lips that "
        "follow the speech out. It needs 13.8 GB of files, which ComfyUI lists.",
        graph,
        tuple((dubbed, name) for name in names),
        (dubbed["video"], dubbed["summary"]),
    )


# The frontend shows the names of the files.
BLUEPRINTS: dict[str, Callable[[], Blueprint]] = {
    "Lip Sync (KeySync)": lip_sync,
    "Lip Sync, published models (KeySync)": lip_sync_published,
}


def to_blueprint(name: str, info: Info) -> dict[str, Any]:
    """The file of a blueprint: a workflow of one node, and what that is made of."""
    made = BLUEPRINTS[name]()
    inner = to_workflow(made.graph, info)
    inputs, outputs = _connect(made, inner)
    description = made.description
    return {
        "id": _id(name, "workflow"),
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [_outer(name, inputs, outputs)],
        "links": [],
        "groups": [],
        "config": {},
        "definitions": {"subgraphs": [_definition(name, inner, inputs, outputs) | {"description": description}]},
        "extra": {"BlueprintDescription": description, "BlueprintSearchAliases": ALIASES},
        "version": 0.4,
    }


def _connect(made: Blueprint, inner: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Gives the inner workflow links from and to the ends of a subgraph; returns the ports of the nodes there."""
    nodes = {node["id"]: node for node in inner["nodes"]}
    links, numbers = inner["links"], count(len(inner["links"]) + 1)
    inputs, outputs = [], []
    for place, (node, name) in enumerate(made.inputs):
        ports = nodes[node.id]["inputs"]
        at, port = next((at, port) for at, port in enumerate(ports) if port["name"] == name)
        port["link"] = next(numbers)
        links.append([port["link"], INSIDE, place, node.id, at, port["type"]])
        inputs.append(port)
    for place, link in enumerate(made.outputs):
        ports = nodes[link.node.id]["outputs"]
        at, port = next((at, port) for at, port in enumerate(ports) if port["name"] == link.output)
        port["links"].append(next(numbers))
        links.append([port["links"][-1], link.node.id, at, OUTSIDE, place, port["type"]])
        outputs.append(port | {"link": port["links"][-1]})
    return inputs, outputs


def _outer(name: str, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """The one node: its widgets are those of the nodes inside, which hold their values."""
    widgets = sum("widget" in port for port in inputs)
    return {
        "id": 1,
        "type": _id(name),
        "pos": [0, 0],
        "size": [WIDTH, WIDGET * widgets + SOCKET * (len(inputs) - widgets + 1)],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [port | {"link": None} for port in inputs],
        "outputs": [{"name": port["name"], "type": port["type"], "links": []} for port in outputs],
        "title": name,
        "properties": {},
        "widgets_values": [],
    }


def _definition(
    name: str, inner: dict[str, Any], inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]
) -> dict[str, Any]:
    """What is inside, with its two ends to the left and to the right."""
    right = max(node["pos"][0] + node["size"][0] for node in inner["nodes"]) + APART
    last_link = max(link[0] for link in inner["links"])
    state = {"lastGroupId": len(inner["groups"]), "lastNodeId": inner["last_node_id"], "lastLinkId": last_link}
    return {
        "id": _id(name),
        "version": 1,
        "state": state | {"lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": name,
        "inputNode": {"id": INSIDE, "bounding": [-APART - END, 0, END, SOCKET * (len(inputs) + 2)]},
        "outputNode": {"id": OUTSIDE, "bounding": [right, 0, END, SOCKET * (len(outputs) + 2)]},
        "inputs": [_end(name, "input", port, place, -APART - SOCKET) for place, port in enumerate(inputs)],
        "outputs": [_end(name, "output", port, place, right + SOCKET) for place, port in enumerate(outputs)],
        "widgets": [],
        "nodes": inner["nodes"],
        "groups": inner["groups"],
        "links": [dict(zip(LINK, link, strict=True)) for link in inner["links"]],
        "extra": {},
        "category": CATEGORY,
    }


def _end(name: str, side: str, port: dict[str, Any], place: int, x: int) -> dict[str, Any]:
    """A port of one end."""
    return {
        "id": _id(name, side, port["name"]),
        "name": port["name"],
        "type": port["type"],
        "linkIds": [port["link"]],
        "pos": [x, SOCKET * (place + 1)],
    }


def _id(*names: str) -> str:
    """The same for the same names."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("keysync", *names))))
