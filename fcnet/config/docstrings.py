"""Finds what a class says about itself and, in the text under each field, about its keys."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import lru_cache
from itertools import pairwise


@lru_cache(maxsize=256)
def meanings(cls: type) -> dict[str, str]:
    """The text under each field of a class, inherited ones too; empty where the source is not at hand."""
    found = {key: text for base in cls.__bases__ if base is not object for key, text in meanings(base).items()}
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return found
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    for field, text in pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name] = " ".join(words.split())
    return found


def about(cls: type) -> str:
    """The first paragraph of a class's docstring, in one line."""
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split())
