"""Nothing in the program turns data into code, and `serve` alone, by its server, talks to a network: held up by reading
the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BUILTINS = {"__import__", "breakpoint", "compile", "eval", "exec"}
MODULES = {
    "cloudpickle", "code", "codeop", "dill", "ftplib", "http", "joblib", "jsonpickle", "marshal", "pickle", "requests",
    "shelve", "smtplib", "socket", "socketserver", "subprocess", "telnetlib", "urllib", "xmlrpc",
}  # fmt: skip
ATTRIBUTES = {
    "full_load", "full_load_all", "import_module", "literal_eval", "popen", "unsafe_load", "unsafe_load_all",
}  # fmt: skip
LOADERS = {"CFullLoader", "CLoader", "CSafeLoader", "CUnsafeLoader", "FullLoader", "Loader", "UnsafeLoader"}


def dangers(source: str) -> list[tuple[int, str]]:
    """(line, what) of everything that runs text as code, restores objects, starts a process or opens a connection."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in BUILTINS:
                found.append((node.lineno, f"{name}()"))
            case ast.Import(names=names):
                found += [(node.lineno, a.name) for a in names if a.name.split(".")[0] in MODULES]
            case ast.ImportFrom(module=str(module), names=names, level=0):
                if module.split(".")[0] in MODULES:
                    found.append((node.lineno, module))
                elif module == "yaml":
                    found += [(node.lineno, f"yaml.{a.name}") for a in names if a.name in LOADERS | ATTRIBUTES]
            case ast.Attribute(attr=attr) if attr in ATTRIBUTES:
                found.append((node.lineno, attr))
            case ast.Attribute(value=ast.Name(id="os"), attr="system"):
                found.append((node.lineno, "os.system"))
            case ast.Attribute(value=ast.Name(id="yaml"), attr=attr) if attr in LOADERS | {"load", "load_all"}:
                found.append((node.lineno, f"yaml.{attr}"))
            case ast.keyword(arg="allow_pickle", value=value) if not (
                isinstance(value, ast.Constant) and value.value is False
            ):
                found.append((node.lineno, "allow_pickle"))
            case _:
                pass
    return found


def test_x1_no_data_become_code() -> None:
    """No file under fcnet/ evaluates text, unpickles, loads YAML into objects, starts a process or opens a socket."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in sorted((ROOT / "fcnet").rglob("*.py"))
        for line, what in dangers(path.read_text(encoding="utf-8"))
    ]

    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "exec(text)",
        "compile(text, 'f', 'exec')",
        "__import__('os')",
        "import pickle",
        "import urllib.request",
        "from subprocess import run",
        "os.system('ls')",
        "ast.literal_eval(text)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "yaml.CSafeLoader(text)",
        "from yaml import CSafeLoader",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "importlib.import_module(name)",
    ],
)
def test_a_planted_danger_is_seen(source: str) -> None:
    """The check finds each of the ways in."""
    assert dangers(source)


@pytest.mark.parametrize(
    "source", ["re.compile('a')", "np.load(path, allow_pickle=False)", "platform.system()", "yaml.SafeLoader(text)"]
)
def test_what_is_harmless_passes(source: str) -> None:
    """The check does not cry wolf."""
    assert not dangers(source)
