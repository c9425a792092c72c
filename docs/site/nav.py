"""A hook of the site's build: the navigation, by what a reader wants, from the folders of docs/.

In a folder pages stand in the order in which docs/index.md names them, then those that it does not name. A page goes by
its title, without the name of its folder before it.
"""

import re
from pathlib import Path
from typing import Any

FOLDERS = {
    "tutorial": "Tutorials",
    "how-to": "How-to",
    "explanation": "Explanation",
    "reference": "Reference",
    "measured": "Measured",
}


def on_config(config: Any) -> Any:
    """The configuration with its navigation."""
    config.nav = navigation(Path(config.docs_dir))
    return config


def navigation(docs: Path) -> list[dict[str, Any]]:
    """The first page, a section for each folder, and last what stands beside the folders."""
    named = re.findall(r"\]\(([\w/-]+\.md)", (docs / "index.md").read_text(encoding="utf-8"))

    def place(page: str) -> tuple[bool, int, str]:
        known = page in named
        return not page.endswith("/index.md"), named.index(page) if known else len(named), page

    sections: list[dict[str, Any]] = [{"Start": "index.md"}]
    for folder, title in FOLDERS.items():
        pages = sorted((path.relative_to(docs).as_posix() for path in (docs / folder).rglob("*.md")), key=place)
        sections.append({title: [_entry(docs, page, f"{title}: ") for page in pages]})
    beside = sorted((path.name for path in docs.glob("*.md") if path.name != "index.md"), key=place)
    return [*sections, {"More": beside}]


def _entry(docs: Path, page: str, before: str) -> Any:
    """A page, with a title of its own where its heading begins with the name of the folder."""
    heading = re.search(r"^# (.+)$", (docs / page).read_text(encoding="utf-8"), re.MULTILINE)
    short = heading[1].removeprefix(before) if heading else ""
    return {f"{short[0].upper()}{short[1:]}": page} if heading and short != heading[1] else page
