"""Parts of fcnet's own source, with all that they need, for a script that runs without it."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path

from fcnet.records import dataclass

STANDARD = {"fcnet.records": "dataclasses"}
"""What stands for a module of Python's own."""

Name = tuple[str, str]
"""Module and what it defines."""


@dataclass(frozen=True)
class _Module:
    lines: list[str]
    defined: dict[str, ast.stmt]
    imported: dict[str, tuple[str, str | None]]
    """What a name in it stands for: a module, or something of a module."""


def taken(names: Sequence[Name], methods: Collection[str] = ()) -> tuple[list[str], str]:
    """Imports, and definitions of modules of fcnet with everything of fcnet that they use.

    Of a class the methods that nothing here calls by name are left out, but for `methods`.
    """
    attributes = {*methods}
    while True:
        found = _reached(names, attributes)
        seen = {node.attr for each in found for node in _walk(each, attributes) if isinstance(node, ast.Attribute)}
        if seen <= attributes:
            break
        attributes |= seen
    texts = {each: _text(each, attributes) for each in found}
    same = {(name, text): None for (_, name), text in texts.items()}
    assert len({name for name, _ in same}) == len(same), "two things have one name"
    outside: dict[str, set[str]] = {}
    for each in found:
        source = _module(each[0])
        for used in _names(each, attributes):
            home, what = source.imported.get(used, ("", None))
            if home and not home.startswith("fcnet"):
                as_ = "" if used == (what or home) else f" as {used}"
                line = f"import {home}{as_}" if what is None else f"{what}{as_}"
                outside.setdefault("" if what is None else home, set()).add(line)
    imports = sorted(outside.pop("", ())) + [
        f"from {home} import {', '.join(sorted(what))}" for home, what in sorted(outside.items())
    ]
    return imports, "\n\n\n".join(text for _, text in same)


@cache
def _module(name: str) -> _Module:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).read_text(encoding="utf-8")
    defined: dict[str, ast.stmt] = {}
    imported: dict[str, tuple[str, str | None]] = {}
    for node in ast.parse(text).body:
        match node:
            case ast.FunctionDef(name=own) | ast.ClassDef(name=own):
                defined[own] = node
            case ast.Assign(targets=targets):
                for each in (n for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)):
                    defined[each.id] = node
            case ast.AnnAssign(target=ast.Name(id=own)):
                defined[own] = node
            case ast.Import(names=aliases):
                imported |= {alias.asname or alias.name: (alias.name, None) for alias in aliases}
            case ast.ImportFrom(module=str(home), names=aliases):
                imported |= {alias.asname or alias.name: (STANDARD.get(home, home), alias.name) for alias in aliases}
            case _:
                pass
    return _Module(text.splitlines(), defined, imported)


def _reached(start: Sequence[Name], attributes: set[str]) -> list[Name]:
    """Everything of fcnet that the definitions use, themselves too, each behind what it uses."""
    done: dict[tuple[str, int], Name] = {}
    waiting: set[Name] = set()

    def visit(each: Name) -> None:
        module, name = each
        source = _module(module)
        if name not in source.defined:
            home, what = source.imported[name]
            if home.startswith("fcnet"):
                assert what is not None, f"{module} uses the module {home} as a whole"
                visit((home, what))
            return
        key = (module, source.defined[name].lineno)
        if key in done or each in waiting:
            return
        waiting.add(each)
        for used in _names(each, attributes):
            if used != name and (used in source.defined or used in source.imported):
                visit((module, used))
        done.setdefault(key, each)

    for each in start:
        visit(each)
    return [*done.values()]


def _names(each: Name, attributes: set[str]) -> list[str]:
    return [*dict.fromkeys(node.id for node in _walk(each, attributes) if isinstance(node, ast.Name))]


def _walk(each: Name, attributes: set[str]) -> Iterator[ast.AST]:
    """The nodes of a definition, without methods that are left out."""
    node = _module(each[0]).defined[each[1]]
    left_out = set(_unused(node, attributes))

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        yield node
        for child in ast.iter_child_nodes(node):
            if child not in left_out:
                yield from walk(child)

    return walk(node)


def _unused(node: ast.stmt, attributes: set[str]) -> list[ast.stmt]:
    body = node.body if isinstance(node, ast.ClassDef) else []
    return [
        m for m in body if isinstance(m, ast.FunctionDef) and not m.name.startswith("__") and m.name not in attributes
    ]


def _text(each: Name, attributes: set[str]) -> str:
    node, lines = _module(each[0]).defined[each[1]], _module(each[0]).lines
    gone: set[int] = set()
    for method in _unused(node, attributes):
        first = min([method.lineno, *(d.lineno for d in getattr(method, "decorator_list", ()))])
        gone |= {*range(first, (method.end_lineno or first) + 1)}
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    kept = [lines[i - 1] for i in range(first, (node.end_lineno or first) + 1) if i not in gone]
    made: list[str] = []
    for line in kept:  # one blank line for the two around a method that has gone
        if line.strip() or not made or made[-1].strip():
            made.append(line)
    return "\n".join(made).rstrip()
