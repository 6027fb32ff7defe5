"""Draws a terminal with real commands and what they said: python docs/_terminal.py > docs/pictures/terminal.svg.

The commands run in a folder of their own with the tables of data/, on a terminal as wide as the picture.
"""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "fcnet train data/breast_cancer.csv --target diagnosis",
    "fcnet predict data/breast_cancer.csv -q -o - | head -4",
    "fcnet report",
)
COLUMNS = 100
CELL, LINE, EDGE = 8.43, 20, 24
"""Width of a letter, height of a line, and what is left free around the text, in pixels."""


def said(command: str, folder: Path) -> list[str]:
    """What a command leaves on a terminal, line by line; a line that is begun again is written over."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    shell = ["bash", "-c", f'fcnet() {{ "{sys.executable}" -m fcnet "$@"; }}; {command}']
    started = subprocess.Popen(shell, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    pieces = []
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # how Linux says that nobody writes any more
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    if started.wait() != 0:
        raise SystemExit(f"{command} ended with {started.returncode}: {b''.join(pieces).decode()}")
    return screen(b"".join(pieces).decode())


def screen(text: str) -> list[str]:
    """The lines that are to be seen at the end.

    >>> screen("1/2\\r2/2 done\\rall\\r\\nnext\\r\\n")
    ['alldone', 'next']
    """
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        shown: list[str] = []
        for part in line.split("\r"):
            shown[: len(part)] = part
        lines.append("".join(shown).rstrip())
    return lines[:-1] if lines[-1] == "" else lines


def drawn(parts: list[tuple[str, list[str]]]) -> str:
    """The picture of commands, each with its lines."""
    rows: list[tuple[str, str]] = []
    for command, lines in parts:
        rows += [("", ""), ("command", f"$ {command}")] if rows else [("command", f"$ {command}")]
        for line in lines:
            kind = "notice" if line.startswith("notice: ") else ""
            rows += [(kind, line[at : at + COLUMNS]) for at in range(0, max(len(line), 1), COLUMNS)]
    width, top = round(COLUMNS * CELL + 2 * EDGE), 52
    height = top + len(rows) * LINE + EDGE - 8
    texts = []
    for i, (kind, line) in enumerate(rows):
        if line:
            mark = f' class="{kind}"' if kind else ""
            texts.append(f'<text x="{EDGE}" y="{top + 14 + i * LINE}"{mark}>{escape(line)}</text>')
    dots = "".join(
        f'<circle cx="{24 + 20 * i}" cy="24" r="6" fill="{c}"/>'
        for i, c in enumerate(("#e5534b", "#c69026", "#57ab5a"))
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>A terminal: {escape("; ".join(command for command, _ in parts))}</title>
<style>
text {{ font: 14px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #cdd9e5;
  white-space: pre; }}
.command {{ fill: #fff; font-weight: 600; }}
.notice {{ fill: #93a1b0; }}
</style>
<rect width="{width}" height="{height}" rx="10" fill="#1c2128"/>
{dots}
{chr(10).join(texts)}
</svg>
"""


def main() -> None:
    """Run them and write the picture to stdout."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(ROOT / "data", Path(place) / "data")
        parts = [(command, said(command, Path(place))) for command in COMMANDS]
    sys.stdout.write(drawn(parts))


if __name__ == "__main__":
    main()
