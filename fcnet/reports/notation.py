"""Mathematics for people: a line of text as plain Unicode or as MathML.

A line is written like `A_{1} = Z_{1} W_{1}^{T} + b_{1}`: letters with `_{…}` below and `^{…}` above.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

_TOKEN = re.compile(r"(?:([^\W\d_]+)(′*)|(\d+(?:\.\d+)?(?:e-?\d+)?)|(\s+)|(.))((?:[_^]\{[^}]*\})*)")
_SCRIPT = re.compile(r"([_^])\{([^}]*)\}")
_LOW = str.maketrans("0123456789-+inr", "₀₁₂₃₄₅₆₇₈₉₋₊ᵢₙᵣ")
_HIGH = str.maketrans("0123456789-+Tt", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ᵀᵗ")


def plain(text: str) -> str:
    """A line in Unicode, with digits below and above.

    >>> plain("A_{12} = Z_{12} W_{12}^{T}")
    'A₁₂ = Z₁₂ W₁₂ᵀ'
    """

    def script(found: re.Match[str]) -> str:
        low = found[1] == "_"
        moved = found[2].translate(_LOW if low else _HIGH)
        return moved if all(c not in found[2] for c in moved) else f"{found[1]}({found[2]})"

    return _SCRIPT.sub(script, text)


def mathml(text: str) -> str:
    """A line as a MathML element, whose text is the same for readers that know no MathML.

    >>> mathml("A_{1}")
    '<math><mrow><msub><mi>A</mi><mn>1</mn></msub></mrow></math>'
    """
    return f"<math><mrow>{''.join(_markup(text))}</mrow></math>"


def _markup(text: str) -> list[str]:
    marks = []
    for letters, primes, number, blank, sign, scripts in _TOKEN.findall(text):
        if blank:
            marks.append('<mspace width="0.22em"></mspace>')
            continue
        if len(letters) == 2 and letters[0] in "d∂∇":  # a differential: its sign, then a letter with scripts
            marks.append(_operator(letters[0]))
            letters = letters[1]  # noqa: PLW2901
        if letters:
            base = f"<mtext>{escape(letters)}</mtext>" if len(letters) > 1 else f"<mi>{escape(letters)}</mi>"
        else:
            # Brackets of the size of their line: Chromium would stretch them over what stands below the letters.
            base = f"<mn>{number}</mn>" if number else f'<mo stretchy="false">{escape(sign)}</mo>'
        marks.append(_scripted(base, dict(_SCRIPT.findall(scripts))))
        if primes:
            marks.append(_operator(primes))
    return marks


def _operator(sign: str) -> str:
    """A sign that keeps no distance."""
    return f'<mo lspace="0" rspace="0">{sign}</mo>'


def _scripted(base: str, scripts: Mapping[str, str]) -> str:
    low, high = scripts.get("_"), scripts.get("^")
    if low and high:
        return f"<msubsup>{base}{_script(low)}{_script(high)}</msubsup>"
    if low:
        return f"<msub>{base}{_script(low)}</msub>"
    return f"<msup>{base}{_script(high)}</msup>" if high else base


def _script(text: str) -> str:
    if text.isdigit():
        return f"<mn>{text}</mn>"
    tag = "mi" if len(text) == 1 else "mtext"
    return f"<{tag}>{escape(text)}</{tag}>"
