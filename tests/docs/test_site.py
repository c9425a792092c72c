"""The site is built without a warning, holds every page, and asks nothing of another host."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pages import DOCS, ROOT

sys.path.insert(0, str(DOCS / "site"))
import links
import nav

sys.path.pop(0)

LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "link": "href",
    "video": "src",
    "audio": "src",
}
REMOTE = re.compile(r"(https?:)?//")
STRICT = {"NO_MKDOCS_2_WARNING": "1", "MEMDETECT_REPOSITORY": "", "MEMDETECT_SITE_URL": ""}


class Loaded(HTMLParser):
    """What a page loads by itself (scripts, styles, pictures), and classes that make the theme load more."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.classes: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.classes |= set((given.get("class") or "").split()) | {given.get("data-md-component") or ""}
        if tag in LOADS and given.get(LOADS[tag]):
            self.found.append(given[LOADS[tag]] or "")
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")
        self.found += re.findall(r"url\(([^)]+)\)", given.get("style") or "")
        self.found += [part.split()[0] for part in (given.get("srcset") or "").split(",") if part.strip()]


def read(path: Path) -> Loaded:
    page = Loaded()
    page.feed(path.read_text("utf-8"))
    return page


def build(out: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(ROOT / ".mkdocs.yml"), "-d", str(out)]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **STRICT, **more}, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = build(out)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


def test_every_page_is_there_and_nothing_else(site: Path) -> None:
    made = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    written = {path.relative_to(DOCS).with_suffix(".html").as_posix() for path in DOCS.rglob("*.md")}
    assert made == written | {"404.html"}
    assert not list(site.rglob("*.py"))


def test_no_page_asks_another_host(site: Path) -> None:
    for path in site.rglob("*.html"):
        page = read(path)
        assert [address for address in page.found if REMOTE.match(address)] == [], path
        assert not {"mermaid", "source"} & page.classes, f"{path}: the theme would load more from another host"
    for path in site.rglob("*.css"):
        text = path.read_text("utf-8")
        assert re.findall(r"@import[^;]*//[^;]*|url\([\"']?(?:https?:)?//[^)]*\)", text) == [], path


def test_what_a_page_loads_is_there(site: Path) -> None:
    for path in site.rglob("*.html"):
        for address in read(path).found:
            if path.name != "404.html" and not address.startswith("data:"):
                assert (path.parent / address.partition("?")[0].partition("#")[0]).exists(), f"{path}: {address}"


def test_the_navigation_names_every_page_once() -> None:
    parts = [part for section in nav.navigation(DOCS) for part in section.values()]
    entries = [entry for part in parts for entry in ([part] if isinstance(part, str) else part)]
    named = [entry if isinstance(entry, str) else next(iter(entry.values())) for entry in entries]
    assert sorted(named) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    assert named[0] == "index.md"


def test_a_page_goes_by_its_title_without_its_folder(tmp_path: Path) -> None:
    (tmp_path / "measured").mkdir()
    (tmp_path / "index.md").write_text("# All\n[b](measured/b.md) [a](measured/a.md)\n")
    for name, heading in {"a": "Measured: speed", "b": "Other", "c": "Measured: costs", "index": "Measured"}.items():
        (tmp_path / "measured" / f"{name}.md").write_text(f"# {heading}\n")
    section = next(each["Measured"] for each in nav.navigation(tmp_path) if "Measured" in each)
    assert section == ["measured/index.md", "measured/b.md", {"Speed": "measured/a.md"}, {"Costs": "measured/c.md"}]


def test_the_search_finds_an_option_and_a_message(site: Path) -> None:
    held = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    places = {entry["location"].partition("#")[0] for entry in held["docs"] if "--train-images" in entry["text"]}
    assert {"reference/cli.html", "reference/messages.html"} <= places


def test_the_first_page_shows_the_pictures_of_the_readme(site: Path) -> None:
    shown = re.findall(r"!\[[^\]]*\]\(docs/([^)]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert set(shown[:1]) <= set(read(site / "index.html").found)


def test_a_link_out_of_the_pages_leads_to_the_repository() -> None:
    assert links.outside("how-to/x.md", "../../README.md") == "README.md"
    assert links.outside("how-to/x.md", "../../memdetect/errors.py#L1") == "memdetect/errors.py#L1"
    for inside in ("../index.md", "y.md", "#here", "https://x.y/z", "/a", "../../gone.md", "../../../etc/passwd"):
        assert links.outside("how-to/x.md", inside) is None
    assert links.linked("the code", "a.py", "https://h/o/n/") == "[the code](https://h/o/n/blob/main/a.py)"
    assert links.linked("the code", "a.py", "") == "the code (`a.py`)"
    assert links.linked("`a.py`", "a.py", "") == "`a.py`"
    assert links.prose("a b\n```\na\n```\na\n", lambda text: text.replace("a", "c")) == "c b\n```\na\n```\nc\n"
