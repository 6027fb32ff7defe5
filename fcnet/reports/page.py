"""What every page of ours has in common: one file that needs nothing else, in one style, for screens small and large,
bright and dark, for paper, for the keyboard and for those who listen to it.

There is no script, no font, no picture from elsewhere, and the page itself forbids them. Whatever comes from data goes
through `text`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

from fcnet.errors import escape
from fcnet.records import dataclass, field

POLICY = "default-src 'none'; style-src 'unsafe-inline'"

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5d6570; --line: #d9dde2; --page: #fbfbfa; --card: #fff;
  --accent: #2457a6; --good: #17683a; --bad: #b3261e; --wash: #eef3fa; --c1: #2457a6; --c2: #b4530a; --c3: #17683a;
  --c4: #8a3fa0; --c5: #8a6d00; --c6: #5d6570; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --soft: #a2abb5; --line: #3a4149; --page: #15181b;
  --card: #1d2125; --accent: #8db8f5; --good: #7fd1a0; --bad: #ff9c94; --wash: #212b38; --c1: #8db8f5; --c2: #f2a365;
  --c3: #7fd1a0; --c4: #d59be6; --c5: #d8bf5a; --c6: #a2abb5; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue",
  Arial, sans-serif; overflow-wrap: break-word; }
header, main, footer { max-width: 62rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.35rem; margin: 2.75rem 0 .25rem; padding-bottom: .3rem; border-bottom: 2px solid var(--accent); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
p { margin: .5rem 0; }
.soft, figcaption, footer { color: var(--soft); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; margin: 1rem 0; }
nav li { padding: .1rem 0; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; } .skip:focus { position: static; }
dl.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15rem 1rem; margin: 1rem 0; }
dl.facts dt { color: var(--soft); } dl.facts dd { margin: 0; }
article { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1.1rem 1rem;
  margin: .75rem 0; break-inside: avoid; }
.right { color: var(--good); } .wrong { color: var(--bad); font-weight: 700; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0 .3rem; font-size: .93rem; }
caption { text-align: left; color: var(--soft); padding-bottom: .2rem; }
th, td { text-align: left; padding: .22rem .8rem .22rem 0; border-bottom: 1px solid var(--line);
  vertical-align: baseline; }
thead th { color: var(--soft); font-weight: 500; font-size: .85rem; }
tbody th { font-weight: 400; white-space: nowrap; }
th .soft { display: block; white-space: normal; max-width: 19rem; } td .soft { display: block; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-right: 0; }
thead th.n { white-space: normal; }
td.n + td, th.n + th, th + td.n { padding-left: 1.2rem; }
code, pre { font: .88em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .7rem .9rem;
  overflow-x: auto; }
details { margin: 1rem 0; } summary { cursor: pointer; font-weight: 600; }
footer { padding-top: 2rem; padding-bottom: 3rem; font-size: .9rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 1rem;
  margin: 1rem 0; }
figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .7rem .8rem .6rem;
  margin: 0; break-inside: avoid; min-width: 0; }
figcaption { font-size: .9rem; } figcaption strong { display: block; color: var(--ink); font-weight: 600; }
figure svg { display: block; width: 100%; height: auto; max-width: 36rem; margin: .3rem auto 0; }
.keys { display: flex; flex-wrap: wrap; gap: 0 .9rem; list-style: none; margin: .15rem 0; padding: 0; }
.keys svg { display: inline-block; width: 1.6em; height: .7em; margin: 0 .35em 0 0; vertical-align: baseline; }
svg text { fill: var(--soft); paint-order: stroke; stroke: var(--card); stroke-width: 3px;
  font: 11px system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
svg .grid { stroke: var(--line); stroke-width: 1; fill: none; } svg .rule { stroke: var(--soft); fill: none; }
svg .c1 { stroke: var(--c1); color: var(--c1); } svg .c2 { stroke: var(--c2); color: var(--c2); }
svg .c3 { stroke: var(--c3); color: var(--c3); } svg .c4 { stroke: var(--c4); color: var(--c4); }
svg .c5 { stroke: var(--c5); color: var(--c5); } svg .c6 { stroke: var(--c6); color: var(--c6); }
svg .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; } svg .rule { stroke-dasharray: 2 3; }
svg .c2.line { stroke-dasharray: 6 3; } svg .c3.line { stroke-dasharray: 2 2.5; }
svg .c4.line { stroke-dasharray: 9 3 2 3; } svg .c5.line { stroke-dasharray: 1 4; stroke-linecap: round; }
svg .c6.line { stroke-width: 1.2; stroke-dasharray: 4 4; }
svg .bar { fill: currentColor; fill-opacity: .55; stroke-width: 1; }
svg .dot { fill: currentColor; fill-opacity: .5; stroke: none; } svg .mark { fill: currentColor; stroke: none; }
.heat td { text-align: right; font-variant-numeric: tabular-nums; padding: .3rem .5rem; min-width: 3rem; }
.heat td { background: color-mix(in srgb, var(--c1) calc(var(--k) * 1%), var(--card)); }
.heat td.hit { font-weight: 700; }
.meter { display: inline-block; width: 6rem; height: .6rem; background: var(--wash); border-radius: 2px; }
.meter i { display: block; height: 100%; background: var(--c1); border-radius: 2px; }
@media (max-width: 40rem) { header, main, footer { padding-left: .9rem; padding-right: .9rem; }
  h1 { font-size: 1.5rem; } th .soft { max-width: 7.5rem; font-size: .8rem; line-height: 1.3; }
  tbody th { white-space: normal; overflow-wrap: anywhere; min-width: 7.5rem; }
  tbody td:last-child:not(.n, .heat td) { min-width: 9rem; } .meter { width: 3rem; }
  dl.facts { grid-template-columns: minmax(0, 1fr); gap: 0; } dl.facts dd {
  margin: 0 0 .45rem; } nav li { padding: .35rem 0; } }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb; --page: #fff; --card: #fff;
  --accent: #1d4789; --good: #17683a; --bad: #b3261e; --wash: #eee; --c1: #1d4789; --c2: #a04a08; --c3: #17683a;
  --c4: #7a358f; --c5: #7a6000; --c6: #444; }
  body { font-size: 10.5pt; } nav, .skip { display: none; } main, header, footer { max-width: none; }
  * { print-color-adjust: exact; } details::details-content { content-visibility: visible; display: block;
  height: auto; } h2, h3, caption, thead, summary { break-after: avoid; }
  tr { break-inside: avoid; }
  pre, .scroll { overflow: visible; } pre { white-space: pre-wrap; } }
"""


@dataclass(frozen=True)
class PagePart:
    """A part of a page: its heading, which is a link at the top, and its content as HTML."""

    title: str
    content: str

    @property
    def key(self) -> str:
        """The name by which a link finds it."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Page:
    """A whole page: `head` is HTML below the title, `footer` a sentence, `style` what this page alone needs."""

    title: str
    head: str
    sections: Sequence[PagePart]
    footer: str
    style: str = ""
    first: str = field(default="", kw_only=True)
    """HTML of the page's content before its first section."""

    def __str__(self) -> str:
        links = "".join(f'<li><a href="#{each.key}">{text(each.title)}</a></li>' for each in self.sections)
        parts = "".join(
            f'<section id="{each.key}" aria-labelledby="{each.key}-title">'
            f'<h2 id="{each.key}-title">{text(each.title)}</h2>{each.content}</section>\n'
            for each in self.sections
        )
        return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{text(self.title)}</title>
<style>{STYLE}{self.style}</style>
</head>
<body>
<a class="skip" href="#content">To the content</a>
<header>
<h1>{text(self.title)}</h1>
{self.head}
<nav aria-label="Parts"><ul>{links}</ul></nav>
</header>
<main id="content">
{self.first}{parts}</main>
<footer>{self.footer}</footer>
</body>
</html>
"""


def text(said: object) -> str:
    """Text for HTML, of whatever it comes from: markup is shown and not obeyed, control characters are written out."""
    return html.escape(escape(str(said)))


def paragraph(said: str) -> str:
    """A sentence that explains."""
    return f'<p class="soft">{text(said)}</p>'


def facts(known: Mapping[str, str]) -> str:
    """What things are, as HTML by name."""
    return f'<dl class="facts">{"".join(f"<dt>{text(name)}</dt><dd>{each}</dd>" for name, each in known.items())}</dl>'


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = (), about: str = ""
) -> str:
    """A table of HTML cells, the first of each row its name; `numbers` are the columns that are set to the right.

    One that is wider than the page moves by itself, and where it is `about` something, the keyboard can move it.
    """
    right = set(numbers)

    def kind(i: int) -> str:
        return ' class="n"' if i in right else ""

    head = "".join(f'<th scope="col"{kind(i)}>{text(name)}</th>' for i, name in enumerate(headers))
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td{kind(i)}>{cell}</td>" for i, cell in enumerate(row[1:], 1))
        + "</tr>"
        for row in rows
    )
    caption = f"<caption>{text(about)}</caption>" if about else ""
    named = f' tabindex="0" role="group" aria-label="{text(about)}"' if about else ""
    return (
        f'<div class="scroll"{named}><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
