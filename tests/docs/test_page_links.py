"""Links lead somewhere: to a file of this checkout, and to a heading that is there."""

import pytest
from pages import ROOT, anchors, every_page, links, name_of

OTHERS = ("CHANGELOG.md", "benchmarks/*.md", "models/*/README.md", "sample_prompts/*.md")
PAGES = [*every_page(), *(path for pattern in OTHERS for path in sorted(ROOT.glob(pattern)))]


def broken(path):
    """The links of a page that lead nowhere."""
    for target in links(path.read_text("utf-8")):
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        if not there.exists():
            yield f"{target}: there is no such file"
        elif anchor and there.suffix == ".md" and anchor not in anchors(there.read_text("utf-8")):
            yield f"{target}: there is no such heading"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path):
    assert list(broken(path)) == []


@pytest.mark.parametrize("path", [p for p in PAGES if p.parent.is_relative_to(ROOT / "docs")], ids=name_of)
def test_every_page_is_linked(path):
    """From another page than itself, so that nobody has to know its name."""
    if path == ROOT / "docs/index.md":
        return
    seen = {(other.parent / link.partition("#")[0]).resolve() for other in PAGES for link in
            links(other.read_text("utf-8")) if other != path and link.partition("#")[0]}  # fmt: skip
    assert path in seen


def test_what_leads_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# A `b`, c & d\n## Twice\n## Twice\n```\n# not a heading\n```\n")
    good = "[a](other.md#a-b-c--d) [b](other.md#twice-1) ![c](page.md) [`d`](#here) `[e](gone.md)` [f](https://x.y/z)"
    page.write_text(f"# Here\n{good}\n```\n[g](gone.md)\n```\n[h](gone.md) [i](other.md#not-a-heading) [j](#gone)\n")
    assert [line.split(":")[0] for line in broken(page)] == ["gone.md", "other.md#not-a-heading", "#gone"]
