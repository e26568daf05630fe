"""The stubs in typings/ name nothing that this ComfyUI lacks: modules, classes, functions and their parameters."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STUBS = Path(__file__).resolve().parents[3] / "typings"
FILES = sorted(path for path in STUBS.rglob("*.pyi") if path.name != "portrait.pyi")  # that is the tests' own
# Missing in ComfyUI 0.8.0; what uses them asks first.
GUARDED = {
    "comfy.model_patcher.ModelPatcher.is_dynamic",
    "comfy.model_base.BaseModel.load_model_weights(assign=)",
    "comfy_api.latest.io.Schema.search_aliases",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(STUBS).with_suffix("").parts).removesuffix(".__init__")


def missing(body: list[ast.stmt], held: Any, place: str, private: dict[str, ast.ClassDef]) -> Iterator[str]:
    """What a body of a stub names and `held`, a module or a class, lacks; a private class counts as its alias."""
    for node in body:
        match node:
            case ast.ClassDef(name=name, body=inner) if not name.startswith("_"):
                if hasattr(held, name):
                    yield from missing(inner, getattr(held, name), f"{place}.{name}", private)
                else:
                    yield f"{place}.{name}"
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if not hasattr(held, name):
                    yield f"{place}.{name}"
                elif not any(isinstance(mark, ast.Name) and mark.id == "property" for mark in node.decorator_list):
                    yield from unfit(node, getattr(held, name), f"{place}.{name}")
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Name(id=alias)) if alias in private:
                yield from missing(private[alias].body, getattr(held, name), f"{place}.{name}", private)
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]) if name[0] != "_":
                if not hasattr(held, name) and not (isinstance(held, type) and sets(held, name)):
                    yield f"{place}.{name}"


def unfit(stub: Function, held: Any, place: str) -> Iterator[str]:
    """Parameters that a function lacks, by position or by name."""
    parameters = inspect.signature(held).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    given = [argument.arg for argument in stub.args.args if argument.arg not in ("self", "cls")]
    names = [name for name in parameters if name not in ("self", "cls")]
    if names[: len(given)] != given:
        yield f"{place}({', '.join(given)})"
    yield from (f"{place}({one.arg}=)" for one in stub.args.kwonlyargs if one.arg not in names)


def sets(held: type, name: str) -> bool:
    """Whether a class of ComfyUI's, or one that it derives from, uses an attribute of that name on its objects."""
    own = [kind for kind in held.__mro__ if kind.__module__.partition(".")[0] not in ("builtins", "abc", "torch")]
    return any(f"self.{name}" in inspect.getsource(kind) or name in inspect.get_annotations(kind) for kind in own)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_nothing_in_a_stub_is_missing(path: Path) -> None:
    name, tree = module_of(path), ast.parse(path.read_text())
    if name in ("comfy_api.latest.io", "comfy_api.latest.ui"):
        held = getattr(importlib.import_module("comfy_api.latest"), name.rpartition(".")[2])
    else:
        held = importlib.import_module(name)
    private = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.startswith("_")}
    assert set(missing(tree.body, held, name, private)) <= GUARDED


def test_what_is_missing_is_found() -> None:
    stub = ast.parse("def find_spec(title: str, package: None = None) -> None: ...\ndef lose_spec() -> None: ...")
    import importlib.util

    assert list(missing(stub.body, importlib.util, "util", {})) == ["util.find_spec(title, package)", "util.lose_spec"]
