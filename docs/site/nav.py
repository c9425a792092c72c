"""A hook of the site's build: the navigation, by what a reader wants, from the folders of docs/.

In a folder pages stand in the order in which docs/index.md names them, then those that it does not name.
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
        sections.append({title: pages})
    beside = sorted((path.name for path in docs.glob("*.md") if path.name != "index.md"), key=place)
    return [*sections, {"More": beside}]
