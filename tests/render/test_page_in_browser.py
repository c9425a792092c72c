"""The page in a browser, where there is one: script, keys, fragment, decisions, print; no network is asked."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import PROGRAM, Browser
from page_runs import pictured
from report_runs import HOSTILE

from memdetect.cli import run as memdetect

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="not run: the HTML report in a browser, there is no chromium here"
)
SHOWN = "[...document.querySelectorAll('#items article')].filter(a => !a.hidden).map(a => a.dataset.number).join()"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("browser"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run whose prompts are hostile: of two copies, a suspicious prompt and an inconclusive one."""
    home = tmp_path_factory.mktemp("page")
    long = "<img src=http://x.example/y onerror=document.title='gone'> " * 200
    prompts = ["</script><script>document.title='gone'</script>", HOSTILE[1], "\u05e9\u05dc\u05d5\u05dd " * 9, long]
    run = pictured(home / "run", prompts)
    assert memdetect(["report", str(run), "-o", str(home / "report.html"), "--evidence", "thumbs"]) == 0
    return home / "report.html"


def test_it_runs_within_its_policy_and_asks_nothing(browser: Browser, page: Path) -> None:
    browser.open(page.as_uri())
    assert browser.run("document.title") == "memdetect: fail, tiny"
    assert browser.run("document.documentElement.classList.contains('script')") is True
    assert browser.run("getComputedStyle(document.querySelector('.verdict')).borderLeftWidth") == "7px"
    assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)") is True
    assert browser.requests() == [page.as_uri()]
    assert browser.complaints() == []
    assert browser.run("document.querySelectorAll('script').length") == 1


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(width: int, browser: Browser, page: Path) -> None:
    browser.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    browser.open(page.as_uri())
    assert browser.run("document.documentElement.scrollWidth") <= width
    browser.ask("Emulation.clearDeviceMetricsOverride")


def test_filters_sort_and_search_stand_in_the_fragment(browser: Browser, page: Path) -> None:
    browser.open(page.as_uri())
    assert browser.run(SHOWN) == "1,2,3"
    browser.run("document.querySelector('input[value=copy]').click()")
    assert browser.run(SHOWN) == "3"
    assert browser.run("location.hash") == "#hide=copy"
    browser.run("document.querySelector('input[value=copy]').click()")
    browser.run("(s => { s.value = 'p'; s.dispatchEvent(new Event('input')); })(document.getElementById('sort'))")
    assert browser.run(SHOWN).startswith("3")
    browser.run(
        "(s => { s.value = 'GNP.EXE'; s.dispatchEvent(new Event('input')); })(document.getElementById('search'))"
    )
    assert browser.run("document.getElementById('shown').textContent") == "1 of 3 shown"
    state = browser.run("location.hash")
    browser.open("about:blank")
    browser.open(page.as_uri() + state)
    assert browser.run("document.getElementById('search').value") == "GNP.EXE"
    assert browser.run("document.getElementById('shown').textContent") == "1 of 3 shown"


def test_keys_alone_are_enough(browser: Browser, page: Path) -> None:
    browser.open(page.as_uri())
    at = "document.activeElement.dataset.number"
    for key, number in (("ArrowRight", "1"), ("ArrowRight", "2"), ("ArrowLeft", "1"), ("ArrowLeft", "1")):
        browser.press(key)
        assert browser.run(at) == number
    for _ in range(30):
        browser.press("Tab")
        if browser.run("document.activeElement.type") == "radio":
            break
    browser.press(" ", " ")
    assert browser.run("document.querySelector('article input:checked').value") == "copy"
    browser.press("ArrowRight")
    assert browser.run("document.activeElement.value") == "similar", "arrows choose within a group"
    browser.dialogs.clear()
    browser.open("about:blank")
    assert browser.dialogs == ["beforeunload"], "it asks before a decision is lost"


def test_decisions_are_written_as_gate_reads_them(browser: Browser, page: Path, tmp_path: Path) -> None:
    browser.open(page.as_uri())
    browser.ask("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.run("document.getElementById('download').click()")
    assert "Nothing is decided yet" in browser.run("document.getElementById('decided').textContent")
    browser.run("document.querySelector('#item-2 input[value=\"not a copy\"]').click()")
    browser.run("(n => { n.value = ' \"quoted\" '; n.dispatchEvent(new Event('input', {bubbles: true})); })"
                "(document.querySelector('#item-2 .note input'))")  # fmt: skip
    browser.run("document.querySelector('#item-1 input[value=copy]').click()")
    browser.run("document.querySelector('#item-1 .undo').click()")
    browser.run("document.getElementById('download').click()")
    assert "Give your name" in browser.run("document.getElementById('decided').textContent")
    assert browser.run("document.activeElement.id") == "name"
    browser.run("document.getElementById('name').value = 'Ann Lee'")
    browser.events.clear()
    browser.run("document.getElementById('download').click()")
    while browser.wait("Page.downloadProgress")["state"] != "completed":
        pass
    (line,) = (tmp_path / "review.jsonl").read_text().splitlines()
    told = json.loads(line)
    assert (told["decision"], told["name"], told["note"]) == ("not a copy", "Ann Lee", '"quoted"')
    assert told["training"] == ["train-1"]
    assert "1 decision written" in browser.run("document.getElementById('decided').textContent")
    asked = ["gate", str(page.parent / "run"), "--review", str(tmp_path / "review.jsonl"), "-f", "json"]
    out = tmp_path / "after.html"
    assert memdetect([*asked, "-o", str(out), "--evidence", "thumbs"]) == 1
    browser.open(out.as_uri())
    assert "Ann Lee" in browser.run("document.getElementById('decisions').textContent")
    assert browser.run("document.querySelector('#item-2').dataset.decided") == "not a copy"


def test_without_script_everything_is_there(browser: Browser, page: Path) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(page.as_uri())
    document = browser.ask("DOM.getDocument", depth=-1)["root"]["nodeId"]
    for selector, wanted in ((".scripted", "none"), ("article", "block"), (".unscripted", "block")):
        node = browser.ask("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        browser.ask("DOM.enable")
        browser.ask("CSS.enable")
        style = browser.ask("CSS.getComputedStyleForNode", nodeId=node)["computedStyle"]
        assert {one["name"]: one["value"] for one in style}["display"] == wanted, selector
    browser.ask("Emulation.setScriptExecutionDisabled", value=False)


def test_it_prints_whole(browser: Browser, page: Path) -> None:
    """What is folded away on a screen is on paper, and what only a screen can use is not."""
    browser.open(page.as_uri())
    browser.ask("Emulation.setEmulatedMedia", media="print")
    seen = "(e => e.getClientRects().length > 0 && e.offsetHeight > 0)"
    assert browser.run(f"[...document.querySelectorAll('details pre, #clear td, .chart td')].every({seen})") is True
    assert browser.run("document.querySelectorAll('details pre').length") >= 3
    assert browser.run(f"[...document.querySelectorAll('.tools, .decide, nav')].some({seen})") is False
    browser.ask("Emulation.setEmulatedMedia", media="")
    assert len(browser.ask("Page.printToPDF", preferCSSPageSize=True)["data"]) > 20_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(scheme: str, browser: Browser, page: Path) -> None:
    """Contrast of 4.5 to 1 and more (WCAG AA), by the colours that are computed."""
    browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open(page.as_uri())
    worst = browser.run("""(() => {
      const light = (c) => {
        const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
          .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const behind = (e) => {
        for (; e; e = e.parentElement) {
          const c = getComputedStyle(e).backgroundColor;
          if (!c.endsWith(", 0)")) return c;
        }
        return "rgb(255, 255, 255)";
      };
      let least = 99;
      for (const e of document.querySelectorAll("main *")) {
        if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || e.closest("svg, select")) continue;
        const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
        least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
      }
      return least;
    })()""")
    browser.ask("Emulation.setEmulatedMedia", features=[])
    assert 4.5 <= worst < 25
