"""The pages in a browser, where one is installed: they load alone, complain of nothing, and fit every screen."""

from pathlib import Path

import browser
import pytest
from reports.reports_runs import HOSTILE

from fcnet import api
from fcnet.cli import main

pytestmark = pytest.mark.skipif(browser.installed() is None, reason="there is no Chromium")

CONTRAST = """
(() => { const shine = c => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255).map(
    v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const back = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (!/, 0\\)|transparent/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
  let worst = 99; for (const e of document.querySelectorAll('p, th, td, a, dt, dd, figcaption, svg text, li, pre')) {
    const s = getComputedStyle(e), ink = e.closest('svg') ? s.fill : s.color, under = back(e);
    if (/color\\(|oklab/.test(under)) continue;
    const [a, b] = [shine(ink), shine(under)].sort((x, y) => y - x);
    worst = Math.min(worst, (a + 0.05) / (b + 0.05)); } return worst; })()
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    found = browser.Browser(tmp_path_factory.mktemp("browser"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def pages(trained):
    """The page of each kind of run, and that of an explanation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(trained)
        made = [trained / api.report(Path("runs") / kind)["report"] for kind in ("binary", "multiclass", "regression")]
        assert main(["explain", "runs/regression/config.yaml", "-o", "explained.html", "-q"]) == 0
    return [*made, trained / "explained.html"]


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_page_loads_alone_and_fits(chromium, pages, which, width, scheme):
    """No word on the console, no request but for the page, nothing beyond the edge, and letters that can be read."""
    chromium.open(pages[which], width, scheme)

    assert chromium.complaints() == []
    assert chromium.requests() == [pages[which].resolve().as_uri()]
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.evaluate(CONTRAST) >= 4.5


def test_nothing_from_the_data_became_an_element(chromium, pages):
    """A label that is a script is a label."""
    chromium.open(pages[0])

    assert chromium.evaluate("document.scripts.length") == 0
    assert HOSTILE[:20] in chromium.evaluate("document.body.innerText")


def test_a_picture_has_a_name_for_those_who_listen(chromium, pages):
    """The tree of what can be heard has each picture with its title and its words."""
    chromium.open(pages[0])
    nodes = chromium.call("Accessibility.getFullAXTree")["nodes"]
    pictures = [node for node in nodes if node.get("role", {}).get("value") in ("image", "img") and not node["ignored"]]

    assert len(pictures) >= 4
    assert all("Picture" not in node["name"]["value"] and len(node["name"]["value"]) > 20 for node in pictures)


def test_on_paper_everything_is_there(chromium, pages):
    """In print what is folded is open, and the page is bright."""
    chromium.open(pages[1], 800, "dark", "print")

    assert chromium.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert chromium.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
