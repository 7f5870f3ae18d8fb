"""Reading what node classes declare off their source, without running it.

Published node packs are not installed where a workflow arrives, but what their loaders list is in their
source: ``"ckpt_name": (folder_paths.get_filename_list("checkpoints"),)``. ``published.json`` beside this
module is made of such facts::

    python -m resolver.folders.declared DIRECTORY…    # one directory a pack, or ComfyUI itself
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..host import NOT_MODEL_FOLDERS, canonical_folder
from .inputs import NodeInputs
from .observed import WIDGET_TYPES
from .published import PUBLISHED, Published

_LISTING = frozenset({"get_filename_list", "get_filename_list_"})
_MAX_DEPTH = 4  # of helper functions and variables between an input and its list
_NOT_MODELS = NOT_MODEL_FOLDERS | {"luts", "kjnodes_fonts"}
_LIST_EXTENSIONS = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".pkl", ".gguf", ".onnx")


@dataclass
class _Pack:
    """All of a pack's definitions by their names, wherever they are. ``types``: node type -> class."""

    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    names: dict[str, ast.expr] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    schemas: dict[str, ast.Call] = field(default_factory=dict)


@dataclass(frozen=True)
class _Declared:
    """An input: the folders it lists, whether it is a widget (``None``: cannot be told), and whether it is a
    fixed list of model files, which the node brings or fetches by itself.
    """

    name: str
    folders: tuple[str, ...]
    is_widget: bool | None
    is_own: bool


def read_pack(directory: Path) -> Published:
    """What the node classes below ``directory`` declare. Files that are no Python are passed over."""
    pack = _Pack()
    for path in sorted(directory.rglob("*.py")):
        try:
            module = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError):
            continue
        _collect(module, pack)
    found = Published()
    for node_type, class_name in sorted(pack.types.items()):
        declared = _of_class(pack, class_name)
        _add(found, node_type, declared)
    for node_type, schema in sorted(pack.schemas.items()):
        _add(found, node_type, list(_of_schema(pack, schema)))
    return found


def _add(found: Published, node_type: str, declared: list[_Declared] | None) -> None:
    if not declared or not any(one.folders or one.is_own for one in declared):
        return
    # The order holds up to the first input of which nobody can tell whether it takes a place.
    unsure = next((at for at, one in enumerate(declared) if one.is_widget is None), len(declared))
    found.nodes[node_type] = NodeInputs(
        tuple(one.name for one in declared[:unsure] if one.is_widget),
        {one.name: one.folders for one in declared if one.folders},
        frozenset(one.name for one in declared if one.is_own),
    )


def _collect(module: ast.Module, pack: _Pack) -> None:
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            pack.classes.setdefault(node.name, node)
            for constant, value in _assigned(node.body):
                if constant.isupper():  # Folders.ANIMATEDIFF_MODELS
                    pack.names.setdefault(constant, value)
        elif isinstance(node, ast.FunctionDef):
            pack.functions.setdefault(node.name, node)
        elif isinstance(node, ast.Call) and _name_of(node.func) == "Schema":
            node_id = next((_text(key.value) for key in node.keywords if key.arg == "node_id"), None)
            if node_id:
                pack.schemas[node_id] = node
    for name, value in _assigned(module.body):
        pack.names.setdefault(name, value)
    for node in ast.walk(module):
        # NODE_CLASS_MAPPINGS under any of its names: text -> class.
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                _add_type(pack, key, value)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            _add_type(pack, node.targets[0].slice, node.value)


def _add_type(pack: _Pack, key: ast.expr | None, value: ast.expr) -> None:
    if isinstance(value, ast.Dict):
        value = _keywords(value).get("class", value)  # {"class": X, "name": …}, as KJNodes has it
    node_type, name = _text(key), _name_of(value)
    if node_type and name:
        pack.types.setdefault(node_type, name)


def _of_class(pack: _Pack, name: str, depth: int = 0) -> list[_Declared] | None:
    definition = pack.classes.get(name)
    if definition is None or depth > _MAX_DEPTH:
        return None
    for statement in definition.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "INPUT_TYPES":
            local = _locals(statement, definition)
            returned = [node.value for node in ast.walk(statement) if isinstance(node, ast.Return)]
            if len(returned) != 1 or any(isinstance(node, ast.For) for node in ast.walk(statement)):
                return None
            groups = _follow(returned[0], local, pack)
            return list(_of_groups(groups, local, pack)) if isinstance(groups, ast.Dict) else None
    for base in definition.bases:
        inherited = _name_of(base)
        if inherited and (found := _of_class(pack, inherited, depth + 1)) is not None:
            return found
    return None


def _of_groups(groups: ast.Dict, local: dict[str, ast.expr], pack: _Pack) -> Iterator[_Declared]:
    by_name = {_text(key): value for key, value in zip(groups.keys, groups.values, strict=True)}
    for group in ("required", "optional"):
        inputs = _follow(by_name.get(group), local, pack)
        if inputs is None:
            continue
        if not isinstance(inputs, ast.Dict):
            yield _Declared(group, (), None, False)  # somehow made: what is in it cannot be told
            continue
        for key, value in zip(inputs.keys, inputs.values, strict=True):
            name = _text(key)
            spec = _follow(value, local, pack)
            if name is None:
                yield _Declared(group, (), None, False)
            elif isinstance(spec, (ast.Tuple, ast.List)) and spec.elts:
                yield _declared(name, spec.elts[0], spec.elts[1:], local, pack)
            else:
                yield _Declared(name, (), None, False)


def _declared(
    name: str, kind: ast.expr, more: Sequence[ast.expr], local: dict[str, ast.expr], pack: _Pack
) -> _Declared:
    options = _keywords(more[0]) if more else {}
    kind = _follow(kind, local, pack) or kind
    text = _text(kind) or (kind.attr if isinstance(kind, ast.Attribute) and kind.attr.isupper() else None)
    if text == "COMBO" and "options" in options:
        kind, text = options["options"], None
    if text is not None:
        forced = isinstance(force := options.get("forceInput"), ast.Constant) and bool(force.value)
        return _Declared(name, (), text in WIDGET_TYPES and not forced, False)
    listed = list(_folders(kind, local, pack))
    folders = tuple(dict.fromkeys(canonical_folder(folder) for folder in listed if folder not in _NOT_MODELS))
    if listed or isinstance(kind, (ast.List, ast.ListComp, ast.BinOp)):
        return _Declared(name, folders, True, not listed and _is_own(kind))
    return _Declared(name, (), None, False)


def _of_schema(pack: _Pack, schema: ast.Call) -> Iterator[_Declared]:
    """Inputs of a V3 node: ``io.Combo.Input("vae_name", options=folder_paths.get_filename_list("vae"))``."""
    inputs = next((key.value for key in schema.keywords if key.arg == "inputs"), None)
    for made in inputs.elts if isinstance(inputs, (ast.List, ast.Tuple)) else ():
        if not isinstance(made, ast.Call) or not isinstance(made.func, ast.Attribute):
            yield _Declared("?", (), None, False)
            continue
        named = {key.arg: key.value for key in made.keywords if key.arg}
        name = _text(made.args[0]) if made.args else _text(named.get("id"))
        kind = _name_of(made.func.value)
        if name is None or kind is None:
            yield _Declared("?", (), None, False)
        elif kind == "Combo":
            yield _declared(name, named.get("options", ast.List([], ast.Load())), (), {}, pack)
        else:
            yield _Declared(name, (), kind.upper() in WIDGET_TYPES and "force_input" not in named, False)


def _folders(
    expression: ast.AST | None, local: dict[str, ast.expr], pack: _Pack, depth: int = 0
) -> Iterator[str]:
    """The folders whose files are in what an expression gives."""
    if expression is None or depth > _MAX_DEPTH:
        return
    for node in ast.walk(expression):
        if isinstance(node, ast.Call):
            name = _name_of(node.func)
            if name in _LISTING and node.args:
                folder = _text(_follow(node.args[0], local, pack))
                if folder:
                    yield folder
            elif name in pack.functions:
                inner = pack.functions[name]
                names = [argument.arg for argument in inner.args.args if argument.arg not in ("self", "cls")]
                given = dict(zip(names, node.args, strict=False))
                yield from _folders(inner, {**_locals(inner), **given}, pack, depth + 1)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            value = local.get(node.id) or pack.names.get(node.id)
            if value is not None and value is not expression:
                rest = {name: other for name, other in local.items() if name != node.id}
                yield from _folders(value, rest, pack, depth + 1)


def _locals(function: ast.FunctionDef, owner: ast.ClassDef | None = None) -> dict[str, ast.expr]:
    return dict(_assigned([*(owner.body if owner else ()), *ast.walk(function)]))


def _assigned(statements: Iterable[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of each plain assignment."""
    for statement in statements:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            if isinstance(target, ast.Name):
                yield target.id, statement.value


def _follow(
    expression: ast.expr | None, local: dict[str, ast.expr], pack: _Pack, depth: int = 0
) -> ast.expr | None:
    """The expression a name stands for; ``cls.NAME`` and ``self.NAME`` too."""
    name = _name_of(expression) if isinstance(expression, (ast.Name, ast.Attribute)) else None
    value = (local.get(name) or pack.names.get(name)) if name else None
    if value is None or value is expression or depth > _MAX_DEPTH:
        return expression
    return _follow(value, local, pack, depth + 1)


def _is_own(expression: ast.expr | None) -> bool:
    texts = [_text(entry) for entry in expression.elts] if isinstance(expression, ast.List) else []
    return any(text is not None and text.lower().endswith(_LIST_EXTENSIONS) for text in texts)


def _keywords(expression: ast.expr) -> dict[str | None, ast.expr]:
    if not isinstance(expression, ast.Dict):
        return {}
    return {_text(key): value for key, value in zip(expression.keys, expression.values, strict=True)}


def _text(expression: ast.expr | None) -> str | None:
    value = expression.value if isinstance(expression, ast.Constant) else None
    return value if isinstance(value, str) else None


def _name_of(expression: ast.expr | None) -> str | None:
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else None


def main(directories: Sequence[str]) -> None:
    """Add what the packs in ``directories`` declare to ``published.json``; what it has stays as it is."""
    kept: dict[str, Any] = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    for directory in directories:
        found = read_pack(Path(directory))
        kept = {**found.as_json(), **kept}
        print(f"{directory}: {len(found.nodes)} node types")
    lines = (f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(kept.items()))
    PUBLISHED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
