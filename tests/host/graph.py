"""A graph of nodes written once, in ComfyUI's two forms: the API's prompt and the workflow that its frontend opens.

Both are made against `/object_info`, which says what a node's inputs are called, which of them are widgets and what
their values are where the graph gives none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# A choice that brings inputs, inputs that grow in number, and one that takes the type of what is connected.
CHOICE, GROWING, ANY = "COMFY_DYNAMICCOMBO_V3", "COMFY_AUTOGROW_V3", "COMFY_MATCHTYPE_V3"
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", CHOICE)
# Uploads have a button, which is a widget too; sound has a player before it.
UPLOADS: dict[str, list[Any]] = {"image_upload": ["image"], "video_upload": ["image"], "audio_upload": [None, None]}
# Pixels: a socket, a widget, a node's edge, its title; what lies between nodes, and around those of a group.
SOCKET, WIDGET, EDGE, TITLE, GAP, PADDING, HEADING = 20, 24, 12, 30, 24, 20, 44
WIDTH = 300
# The frontend's own node for text on the canvas, of which the server knows nothing; pixels of a line, and its letters,
# also in a list of files.
NOTE, LINE, LETTERS, IN_LIST = "MarkdownNote", 11, 46, 28

Info = dict[str, Any]


@dataclass(frozen=True)
class Model:
    """A file that a loader names, where it is downloaded from, and its folder below `models`."""

    name: str
    url: str
    directory: str


@dataclass(frozen=True)
class Link:
    """One output of a node, by its name or its place."""

    node: Node
    output: str | int


@dataclass(frozen=True, eq=False)
class Node:
    """One node: its inputs are links or the values of widgets; a widget that is not named has its default.

    The frontend calls an input by its word in `labels`, where it has one there.
    """

    id: int
    kind: str
    inputs: dict[str, Any]
    at: tuple[int, int]
    models: tuple[Model, ...] = ()
    title: str | None = None
    height: int = 0
    labels: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, output: str | int) -> Link:
        return Link(self, output)


@dataclass
class Graph:
    """Nodes in the order they were added, and groups: a title around nodes.

    App mode shows the widgets `asked`, each of a node, and what the nodes `shown` save; it opens where some are.
    """

    nodes: list[Node] = field(default_factory=list)
    groups: list[tuple[str, list[Node]]] = field(default_factory=list)
    asked: list[tuple[Node, str]] = field(default_factory=list)
    shown: list[Node] = field(default_factory=list)

    def add(self, kind: str, at: tuple[int, int], models: tuple[Model, ...] = (), **inputs: Any) -> Node:
        """Adds a node below the others at x of `at`, not above its y (pixels); `title`, `height` and `labels`, other
        words for its inputs, are of the picture, all else are inputs."""
        title, height, labels = inputs.pop("title", None), inputs.pop("height", 0), inputs.pop("labels", {})
        number = max((node.id for node in self.nodes), default=0) + 1
        node = Node(number, kind, inputs, at, models, title, height, labels)
        self.nodes.append(node)
        return node

    def note(self, at: tuple[int, int], text: str, title: str = "Note") -> Node:
        """Adds a text, as `add` adds a node."""
        lines = sum(1 + len(line) // (IN_LIST if line.startswith("- ") else LETTERS) for line in text.splitlines())
        return self.add(NOTE, at, text=text, title=title, height=LINE * lines + TITLE)

    def group(self, title: str, *nodes: Node) -> None:
        self.groups.append((title, list(nodes)))

    def app(self, asked: list[tuple[Node, str]], shown: list[Node]) -> None:
        """Lets the frontend open the workflow in App mode, which asks for these widgets and shows these results."""
        self.asked, self.shown = asked, shown


def to_api(graph: Graph, info: Info) -> dict[str, Any]:
    """The prompt that POST /prompt takes."""
    return {str(node.id): _api_node(node, info) for node in graph.nodes if node.kind != NOTE}


def _api_node(node: Node, info: Info) -> dict[str, Any]:
    inputs = {}
    for name, kind, options in _inputs(node, info):
        value = node.inputs.get(name)
        if isinstance(value, Link):
            inputs[name] = [str(value.node.id), _slot(value, info)]
        elif _is_widget(kind, options):
            inputs[name] = _value(node, name, kind, options)
    title = node.title or info[node.kind].get("display_name") or node.kind
    return {"inputs": inputs, "class_type": node.kind, "_meta": {"title": title}}


def to_workflow(graph: Graph, info: Info) -> dict[str, Any]:
    """The workflow, version 0.4, that the frontend opens."""
    links = _links(graph, info)
    places = _places(graph, info)
    nodes = [_workflow_node(node, info, links, order) | places[node.id] for order, node in enumerate(graph.nodes)]
    return {
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": nodes,
        "links": links,
        "groups": [_group(number, title, members, places) for number, (title, members) in enumerate(graph.groups, 1)],
        "config": {},
        "extra": _app(graph),
        "version": 0.4,
    }


def _app(graph: Graph) -> dict[str, Any]:
    """What the frontend reads of App mode; one that has none ignores it."""
    if not graph.shown:
        return {}
    inputs = [[node.id, widget] for node, widget in graph.asked]
    return {"linearMode": True, "linearData": {"inputs": inputs, "outputs": [node.id for node in graph.shown]}}


def _links(graph: Graph, info: Info) -> list[list[Any]]:
    """[id, from node, from output, to node, to input, type] of each link."""
    links: list[list[Any]] = []
    for node in graph.nodes:
        for place, (name, _, _) in enumerate(_ports(node, info)):
            value = node.inputs.get(name)
            if isinstance(value, Link):
                slot = _slot(value, info)
                kind = _output_type(value.node, slot, info)
                links.append([len(links) + 1, value.node.id, slot, node.id, place, kind])
    return links


def _label(node: Node, name: str, info: Info) -> str:
    """What the frontend calls an input: the node's own word for it; the number of one that grows; else its name."""
    if name in node.labels:
        return node.labels[name]
    base, _, grown = name.partition(".")
    groups = info[node.kind]["input"].values()
    return grown if any(base in group and group[base][0] == GROWING for group in groups) else name


def _output_type(node: Node, slot: int, info: Info) -> str:
    """The type of an output; one that may be any is that of what the node's first link brings."""
    kind = info[node.kind]["output"][slot]
    if kind == ANY:
        first = next(value for value in node.inputs.values() if isinstance(value, Link))
        return _output_type(first.node, _slot(first, info), info)
    return "COMBO" if isinstance(kind, list) else str(kind)


def _input_type(node: Node, name: str, kind: Any, info: Info) -> str:
    """The type of an input; one that may be any is that of its link."""
    value = node.inputs.get(name)
    if kind == ANY:
        return _output_type(value.node, _slot(value, info), info) if isinstance(value, Link) else "*"
    return "COMBO" if isinstance(kind, list) else str(kind)


def _workflow_note(node: Node, order: int) -> dict[str, Any]:
    return {
        "id": node.id,
        "type": NOTE,
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": node.title,
        "properties": {},
        "widgets_values": [node.inputs["text"]],
        "color": "#432",
        "bgcolor": "#653",
    }


def _workflow_node(node: Node, info: Info, links: list[list[Any]], order: int) -> dict[str, Any]:
    if node.kind == NOTE:
        return _workflow_note(node, order)
    arriving = {link[4]: link[0] for link in links if link[3] == node.id}
    optional = info[node.kind]["input"].get("optional", {})
    inputs = []
    for place, (name, kind, options) in enumerate(_ports(node, info)):
        port = {"name": name, "type": _input_type(node, name, kind, info), "link": arriving.get(place)}
        if name in optional:
            port["shape"] = 7
        label = _label(node, name, info)
        if label != name:
            port["label"] = label
        if _is_widget(kind, options):
            port["widget"] = {"name": name}
        inputs.append(port)
    outputs = [
        {
            "name": name,
            "type": _output_type(node, slot, info),
            "links": [link[0] for link in links if link[1:3] == [node.id, slot]],
        }
        for slot, name in enumerate(info[node.kind]["output_name"])
    ]
    values = [value for _, held in _widget_values(node, info) for value in held]
    properties: dict[str, Any] = {"Node name for S&R": node.kind}
    if node.models:
        properties["models"] = [vars(model) for model in node.models]
    return {
        "id": node.id,
        "type": node.kind,
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": inputs,
        "outputs": outputs,
        **({"title": node.title} if node.title else {}),
        "properties": properties,
        "widgets_values": values,
    }


def _places(graph: Graph, info: Info) -> dict[int, dict[str, list[int]]]:
    """`pos` and `size` of each node, by its id: nodes of one column lie below each other."""
    columns = [{node.at[0]: node.id for node in reversed(members)} for _, members in graph.groups]
    below_heading = {node for column in columns for node in column.values()}
    bottoms: dict[int, int] = {}
    places = {}
    for node in graph.nodes:
        x, y = node.at
        heading = PADDING + HEADING if node.id in below_heading else 0
        top = max(y + TITLE + heading, bottoms.get(x, -GAP) + GAP + TITLE + heading)
        height = node.height if node.kind == NOTE else max(node.height, _height(node, info))
        places[node.id] = {"pos": [x, top], "size": [WIDTH, height]}
        bottoms[x] = top + height
    return places


def _height(node: Node, info: Info) -> int:
    sockets = sum(not _is_widget(kind, options) for _, kind, options in _inputs(node, info))
    widgets = sum(len(values) for _, values in _widget_values(node, info))
    return SOCKET * max(sockets, len(info[node.kind]["output"])) + WIDGET * widgets + EDGE


def _group(number: int, title: str, members: list[Node], places: dict[int, dict[str, list[int]]]) -> dict[str, Any]:
    corners = [places[node.id]["pos"] for node in members]
    ends = [[at + length for at, length in zip(*places[node.id].values(), strict=True)] for node in members]
    left, top = (min(corner[axis] for corner in corners) - PADDING for axis in (0, 1))
    right, bottom = (max(end[axis] for end in ends) + PADDING for axis in (0, 1))
    top -= TITLE + HEADING - PADDING
    bounding = [left, top, right - left, bottom - top]
    return {"id": number, "title": title, "bounding": bounding, "color": "#3f789e", "font_size": 24, "flags": {}}


def _inputs(node: Node, info: Info) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Name, type and options of each input, in the frontend's order; what a choice brings follows the choice."""
    if node.kind == NOTE:
        return
    if node.kind not in info:
        raise KeyError(f"ComfyUI knows no node {node.kind}")
    described = info[node.kind]
    known = []
    for group in ("required", "optional"):
        inputs = described["input"].get(group, {})
        for name in described["input_order"].get(group, inputs):
            for found in _expand(node, name, inputs[name]):
                known.append(found[0])
                yield found
    unknown = node.inputs.keys() - known
    if unknown:
        raise KeyError(f"{node.kind} has no input {sorted(unknown)}: it has {known}")


def _expand(node: Node, name: str, described: list[Any]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    kind, options = described[0], described[1] if len(described) > 1 else {}
    if kind == GROWING:
        for grown in _grown(node, name, options["template"]):
            yield from _expand(node, *grown)
        return
    yield name, kind, options
    if kind == CHOICE:
        chosen = _value(node, name, kind, options)
        inputs = next(option["inputs"] for option in options["options"] if option["key"] == chosen)
        for group in ("required", "optional"):
            for inner, inner_described in inputs.get(group, {}).items():
                yield from _expand(node, f"{name}.{inner}", inner_described)


def _grown(node: Node, name: str, template: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """The inputs of a list that grows, each with its description: those that are connected, and a free one."""
    (inner,) = [described for group in template["input"].values() for described in group.values()]
    connected = sum(given.startswith(f"{name}.") for given in node.inputs)
    for number in range(min(connected + 1, template.get("max", connected + 1))):
        yield f"{name}.{template['prefix']}{number}", inner


def _ports(node: Node, info: Info) -> list[tuple[str, Any, dict[str, Any]]]:
    """The inputs as the frontend lists them: sockets first, then widgets."""
    return sorted(_inputs(node, info), key=lambda port: _is_widget(*port[1:]))


def _is_widget(kind: Any, options: dict[str, Any]) -> bool:
    return not options.get("forceInput") and (isinstance(kind, list) or kind in WIDGETS)


def _value(node: Node, name: str, kind: Any, options: dict[str, Any]) -> Any:
    """What a widget holds: the graph's value, else its default, else the first choice."""
    value = node.inputs.get(name)
    if value is not None and not isinstance(value, Link):
        return value
    if "default" in options:
        return options["default"]
    choices = kind if isinstance(kind, list) else options.get("options", [""])
    if kind == CHOICE:
        return choices[0]["key"]
    return {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}.get(str(kind), choices[0] if choices else "")


def _widget_values(node: Node, info: Info) -> Iterator[tuple[str, list[Any]]]:
    """The name of each widget and the values that it and its helpers hold."""
    for name, kind, options in _inputs(node, info):
        if _is_widget(kind, options):
            values = [_value(node, name, kind, options)]
            if options.get("control_after_generate"):
                values.append("fixed")
            for flag, helpers in UPLOADS.items():
                if options.get(flag):
                    values += helpers
            yield name, values


def _slot(link: Link, info: Info) -> int:
    """The place of an output."""
    names = info[link.node.kind]["output_name"]
    slot = names.index(link.output) if isinstance(link.output, str) else link.output
    if not 0 <= slot < len(names):
        raise KeyError(f"{link.node.kind} has no output {link.output}: it has {names}")
    return int(slot)
