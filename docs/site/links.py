"""A hook of the site's build: what a page links to outside of docs/ leads to the repository, or is the path as text.

mkdocs knows only what lies in docs/. With `extra.repository` (an address such as https://HOST/OWNER/NAME) a link to any
other file of this checkout becomes one to that file there; without it, its text and the path. A picture outside of
docs/ is copied into the site. What does not exist is left as it is, so that `--strict` fails on it.
"""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.M | re.S)


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """The page's text with its links out of docs/ replaced, and the pictures that it shows from there in the site."""
    source, repository = page.file.src_uri, config.extra.get("repository") or ""

    def link(found: re.Match[str]) -> str:
        path = outside(source, found["target"])
        if path is None:
            return found[0]
        if not found["picture"]:
            return linked(found["text"], path, repository)
        place = f"outside/{path}"
        if files.get_file_from_path(place) is None:
            files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
        return f"![{found['text']}]({posixpath.relpath(place, posixpath.dirname(source) or '.')})"

    return prose(markdown, lambda text: LINK.sub(link, text))


def prose(markdown: str, change: Callable[[str], str]) -> str:
    """A text with all changed but what stands between fences."""
    made: list[str] = []
    end = 0
    for fence in FENCE.finditer(markdown):
        made += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*made, change(markdown[end:])])


def linked(text: str, path: str, repository: str) -> str:
    """A link to a path of the checkout; without a repository the text, and the path where the text is another."""
    if repository:
        return f"[{text}]({repository.rstrip('/')}/blob/main/{path})"
    return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}`)"


def outside(source: str, target: str) -> str | None:
    """The path in the checkout of a link's target, with its anchor; None unless it is there and not in docs/."""
    path, _, anchor = target.partition("#")
    if not path or ":" in path or path.startswith("/"):
        return None
    there = posixpath.normpath(posixpath.join("docs", posixpath.dirname(source), path))
    if there.startswith(("docs/", "../")) or not (ROOT / there).exists():
        return None
    return f"{there}#{anchor}" if anchor else there
