"""What the site does beside Markdown: formulas become MathML, and pages outside of docs/ come in.

Nothing is fetched when a page is read: a browser draws MathML by itself, and each page forbids what is elsewhere, which
the theme's script would ask for where a browser is old.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
OUTSIDE = ("CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "benchmarks/README.md")

POLICY = "default-src 'self' file: data: blob: 'unsafe-inline'"

_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_MATH = re.compile(r"\$`(.+?)`\$|\$\$(.+?)\$\$|(?<![\w$])\$(?! )([^$\n]+?)(?<! )\$(?!\w)", re.DOTALL)
_BLOCK = re.compile(r"^```math\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|#)([^)\s#]+)((?:#[^)\s]*)?)\)")


def on_files(files: Any, config: Any) -> Any:
    """The documents of the project that lie elsewhere are pages too."""
    for name in OUTSIDE:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, _place(name), content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links to other files of the project lead to their pages, or are plain words; formulas become MathML."""
    here = next((Path(name) for name in OUTSIDE if _place(name) == page.file.src_uri), None)
    folder = here.parent if here is not None else Path("docs")

    def link(match: re.Match[str]) -> str:
        target = (ROOT / folder / match[1]).resolve()
        name = target.relative_to(ROOT).as_posix() if target.is_relative_to(ROOT) else ""
        if name.startswith("docs/") and target.suffix in (".md", ".png", ".svg"):
            return f"]({name.removeprefix('docs/')}{match[2]})"
        return f"]({_place(name)}{match[2]})" if name in OUTSIDE else "](#)"

    markdown = _BLOCK.sub(lambda match: _formula(match[1], "block"), markdown)
    parts = _CODE.split(markdown)
    parts[::2] = [re.sub(r"\[([^\]]*)\]\(#\)", r"\1", _LINK.sub(link, _MATH.sub(_math, part))) for part in parts[::2]]
    whole = "".join(parts)
    return re.sub(r"\[([^\]]*)\]\(#\)", r"\1", _LINK.sub(link, whole))


def on_post_page(output: str, page: Any, config: Any) -> str:
    """A page takes scripts, styles and pictures from its own site alone."""
    return output.replace("<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{POLICY}">', 1)


def _place(name: str) -> str:
    """Where a document from outside stands among the pages."""
    return "project-" + name.replace("/README", "").lower()


def _math(match: re.Match[str]) -> str:
    inline = match[1] or match[3]
    return _formula(inline, "inline") if inline else _formula(match[2], "block")


def _formula(text: str, display: str) -> str:
    """One formula, on one line, so that Markdown leaves it alone."""
    text = re.sub(r"([A-Za-z])('+)\^", r"{\1\2}^", text.strip())  # a prime and an exponent are two superscripts
    made = " ".join(convert(text, display=display).split())
    for sign, code in {"|": "&#124;", "_": "&#95;", "*": "&#42;", "`": "&#96;"}.items():
        made = made.replace(sign, code)
    return f'\n\n<div style="overflow-x: auto">{made}</div>\n\n' if display == "block" else made
