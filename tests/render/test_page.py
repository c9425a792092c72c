"""The page: one file that asks for nothing, in which a prompt is text, and which holds what it says and no more."""

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from page_runs import MARK, near, pictured
from PIL import Image
from report_runs import OUTCOMES, run, texts

from memdetect.cli import run as memdetect
from memdetect.copies.match import picture_of
from memdetect.inputs.options import Judging
from memdetect.judging.run import Judged, judge_folders
from memdetect.render import page as package
from memdetect.render.page import LIMIT, render_page
from memdetect.render.page.beside import Beside
from memdetect.render.page.making import beside_of
from memdetect.render.redaction import redact
from memdetect.render.shown import plain
from memdetect.runs.review import shown_matches

TEMPLATES = Path(package.__file__).parent / "templates"
VOID = {"meta", "img", "input", "rect", "line"}


class Page(HTMLParser):
    """A page as a browser has it: elements with their attributes, and the text of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.inside: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.inside.setdefault(tag, []).append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data
        for tag in dict.fromkeys(self.open):
            self.inside[tag][-1] += data

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)
    return pictured(tmp_path / "run")


def judged(folder: Path) -> Judged:
    return judge_folders([folder], Judging())


def made(folder: Path, evidence: str = "thumbs") -> str:
    found = judged(folder)
    beside = beside_of(found.found.header, found.results, [folder], evidence, found.found.calibration)
    return render_page(found.found.header, found.results, found.verdict, beside)


@settings(max_examples=15, deadline=None)
@given(texts, texts)
def test_a_prompt_is_text_whatever_it_holds(one: str, other: str) -> None:
    plainly = Page(render_page(*run(["a cat", "a dog"], OUTCOMES, reason="r", id="x", source="s")))
    page = Page(render_page(*run([one, other], OUTCOMES, reason=other, id=one, source=other)))
    assert not page.wrong
    assert not page.open
    extra = {"p", "blockquote", "details", "summary", "pre", "code"}  # of a long prompt, of a reason that is empty
    names = [[tag for tag, _ in each.elements if tag not in extra] for each in (page, plainly)]
    assert names[0] == names[1]
    assert {name for _, own in page.elements for name in own} <= {name for _, own in plainly.elements for name in own}
    (title,) = [words for words in page.inside["h3"] if words.startswith("1 copy")]
    assert title.removeprefix("1 copy").split() == plain(one, 180).split()


def test_a_long_prompt_is_there_whole(folder: Path) -> None:
    long = "word " * 2000
    page = Page(render_page(*run([long])))
    assert long.strip() in page.text


def test_it_asks_for_nothing_and_runs_what_it_names_alone(folder: Path) -> None:
    text = made(folder)
    page = Page(text)
    for tag, own in page.elements:
        assert not {name for name in own if name.startswith("on") or name == "style"}, tag
        assert all(own[name].startswith(("data:image/webp;base64,", "#")) for name in ("src", "href") if name in own)
    assert {tag for tag, _ in page.elements} & {"link", "iframe", "object", "embed", "base", "form"} == set()
    (policy,) = [own["content"] for own in page.of("meta") if own.get("http-equiv") == "Content-Security-Policy"]
    parts = dict(part.split(" ", 1) for part in policy.split("; "))
    assert parts.pop("default-src") == parts.pop("base-uri") == parts.pop("form-action") == "'none'"
    assert parts.pop("img-src") == "data:"
    for tag in ("style", "script"):
        (inner,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert parts.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert not parts
    assert "url(" not in text
    assert "http" not in re.sub(r"http-equiv", "", text)


def test_templates_leave_nothing_unescaped_and_tell_what_they_lack() -> None:
    files = sorted(TEMPLATES.iterdir())
    assert {path.suffix for path in files} == {".html", ".css", ".js"}
    for path in files:
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe\b|autoescape|Markup", source), path.name
        if path.suffix != ".html":
            assert not re.search(r"\{\{|\{%|\{#", source), f"{path.name} is no template"
    jinja2 = pytest.importorskip("jinja2")
    with pytest.raises(jinja2.UndefinedError):
        package._rendered("line.html", {})


def test_equal_runs_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one = made(pictured(tmp_path / "run"))
    assert made(tmp_path / "run") == one
    assert made(pictured(tmp_path / "other")).replace("other/", "run/") == one
    (tmp_path / "run" / "images" / "0-0.png").write_bytes((tmp_path / "run" / "images" / "1-0.png").read_bytes())
    assert made(tmp_path / "run") != one


def test_it_holds_what_a_reader_asks_for(folder: Path) -> None:
    assert memdetect(["gate", str(folder), "-f", "json", "-o", "report.html", "-o", "summary.json"]) == 1
    page = Page(Path("report.html").read_text(encoding="utf-8"))
    summary = json.loads(Path("summary.json").read_text())
    assert "Verdict: fail" in page.text
    assert summary["claim"] in page.text
    assert all(phrase in page.text for phrase in summary["not_tested"])
    assert all(rule["reason"] in page.text for rule in summary["verdict"]["rules"])
    articles = page.of("article")
    assert [own["data-outcome"] for own in articles] == ["copy", "copy", "suspicious", "inconclusive"]
    assert "2 of 2 are copies" in page.text
    assert "it is the training image's caption, word for word" in page.text
    assert "the training image's caption is another: " in page.text
    assert "Aligned with it: mirrored" in page.text
    assert "Second nearest: train-9, similarity 0.300" in page.text
    assert "memdetect scan - --prompts-format jsonl --model tiny" in page.text
    assert summary["run"]["plan_digest"] in page.text
    assert summary["verdict"]["policy_digest"] in page.text


def test_rules_have_limit_observed_and_interval(folder: Path) -> None:
    page = Page(made(folder))
    text = " ".join(page.text.split())
    # 3 findings among 8: Clopper-Pearson at 95 %, as of a table of the binomial distribution
    assert "37.5% of those measured, 95 % interval 8.5% to 75.5%" in text


def test_pictures_are_small_webp_without_metadata_and_outlined_where_they_agree(folder: Path) -> None:
    text = made(folder)
    page = Page(text)
    sources = [own["src"] for own in page.of("img")]
    # copies: output, aligned, original, second nearest of two images each; others: two outputs each
    assert len(sources) == 2 * 2 * 4 + 2 * 2
    for source in sources:
        data = base64.b64decode(source.removeprefix("data:image/webp;base64,"))
        image = Image.open(BytesIO(data))
        assert image.format == "WEBP"
        assert max(image.size) <= 256
        assert MARK.encode() not in data
    assert all(own["alt"] for own in page.of("img"))
    boxes = [own for own in page.of("rect") if own.get("class") == "over"]
    assert len(boxes) == 2 * 2 * 2
    assert {tuple(own[name] for name in ("x", "y", "width", "height")) for own in boxes} == {
        ("10.0", "20.0", "50.0", "60.0")
    }
    first = [np.asarray(_image(source)).astype(int) for source in sources[:2]]
    assert np.abs(first[0][:, ::-1] - first[1]).mean() < 12, "the second is the first, mirrored"
    assert np.abs(first[0] - first[1]).mean() > 30


def _image(source: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB")


@pytest.mark.parametrize("evidence", ["hash", "thumbs"])
def test_a_decision_on_the_page_names_every_training_image_that_comes_back(evidence: str, folder: Path) -> None:
    """More than have room beside the images; however it is called, a script reads the same name."""
    keys = ["a", 'b "c".png', "d&amp;<e>.png", "f\x85\u202e.png", "##[g]", "h", "i"]
    found = judged(folder)
    matches = [m for k, key in enumerate(keys) for m in near(Path("train"), 0, k, key=key, similarity=0.97 - k / 100)]
    row = found.results[0].model_copy(update={"matches": [*matches, *near(Path("train"), 0, 0, key="a#plain")]})
    beside = beside_of(found.found.header, [row], [folder], evidence, None)
    text = render_page(found.found.header, [row], found.verdict, beside)
    (article,) = Page(text).of("article")
    assert json.loads(article["data-training"]) == keys == [picture_of(m.key) for m in shown_matches(row.matches)]
    assert "##[g]" not in text
    shown = html.unescape(text)
    assert all(word in shown for word in ("Further training images", 'b "c".png', "d&amp;<e>.png", "i, train/0.png"))


@pytest.mark.parametrize("evidence", ["none", "hash"])
def test_without_thumbnails_there_is_no_pixel(evidence: str, folder: Path) -> None:
    text = made(folder, evidence)
    assert "data:image" not in text
    digest = hashlib.sha256((folder / "images" / "0-0.png").read_bytes()).hexdigest()
    assert (digest in text) == (evidence == "hash")
    assert f"--evidence {evidence}" in text


@pytest.mark.parametrize("options", [[], ["--evidence", "hash"], ["--evidence", "none"]])
def test_a_redacted_page_of_a_run_leaks_nothing(options: list[str], tmp_path: Path, monkeypatch: Any) -> None:
    """Neither prompts, paths and keys of training images, names, nor pixels; the decisions of people without names."""
    monkeypatch.chdir(tmp_path)
    home = pictured(tmp_path / "QXJZrun", ["QXJZ a secret", "another QXJZ"], model="QXJZ-model")
    assert memdetect(["report", str(home), "-o", "open.html"]) == 0
    found = judged(home).results[0]
    assert found.fingerprint in Path("open.html").read_text()
    line = {
        "schema": "memdetect.review/1", "id": "QXJZ", "fingerprint": found.fingerprint, "decision": "not a copy",
        "pictures": [hashlib.sha256((home / name).read_bytes()).hexdigest() for name in found.files],
        "name": "QXJZ Lee", "note": "QXJZ licensed", "time": "2026-11-30T09:05:00Z",
    }  # fmt: skip
    Path("review.jsonl").write_text(json.dumps(line) + "\n")
    asked = ["report", str(home), "--review", "review.jsonl"]
    assert memdetect([*asked, "-o", "open.html"]) == 0
    assert memdetect([*asked, "--redact", *options, "-o", "shut.html"]) == 0
    shown, shut = Path("open.html").read_text(), Path("shut.html").read_text()
    assert all(word in shown for word in ("QXJZ Lee", "QXJZ licensed", "QXJZ a secret", "QXJZ-model", "data:image"))
    for word in ("QXJZ", "train-0", str(tmp_path), "data:image", found.fingerprint, "data-pictures"):
        assert word not in shut
    assert "decided: not a copy" in shut
    assert "2026-11-30 09:05 UTC" in shut


@pytest.mark.parametrize("limit", [120_000, 400_000, 1_500_000, LIMIT])
def test_a_page_of_many_items_stays_below_its_limit_and_says_what_it_left_out(limit: int) -> None:
    """Every item is shown in full, stands in a table, or is counted as left out."""
    told = run([f"{'<&>' * 100} {i}" for i in range(3000)], ("copy", "inconclusive", "clear"))
    text = render_page(*told, limit=limit)
    assert len(text.encode()) <= limit
    page = Page(text)
    assert not page.wrong
    shown = [own["data-outcome"] for own in page.of("article")]
    rows = re.findall(r"</td><td>(copy|clear)</td>", text)
    names = {"copy": "findings are", "inconclusive": "inconclusive items are", "clear": "clear items are"}
    cut = {outcome: re.search(rf"(\d+) more {name} not", text) for outcome, name in names.items()}
    for outcome, left in cut.items():
        assert shown.count(outcome) + rows.count(outcome) + int(left[1] if left else 0) == 1000
    if limit == LIMIT:
        assert shown.count("copy") == shown.count("inconclusive") == 500
        assert rows.count("copy") == 500


def test_pictures_stop_at_their_budget(folder: Path) -> None:
    from memdetect.render.page.pictures import Album

    row = judged(folder).results[0]
    whole = Album(folder)
    cost = sum(len(p.data) for pair in whole.seen(row).pairs for p in (pair.output, pair.aligned, pair.training) if p)
    assert whole.taken > cost > 0
    tight = Album(folder, budget=whole.taken + 1)
    assert tight.seen(row).pairs
    assert not tight.seen(row).pairs
    assert tight.seen(row).digests == whole.seen(row).digests
    assert tight.taken <= tight.budget


def test_files_outside_the_run_are_not_shown(folder: Path, tmp_path: Path) -> None:
    from memdetect.render.page.pictures import Album

    row = judged(folder).results[0].model_copy(update={"files": ["../train/0.png", str(tmp_path / "train" / "1.png")]})
    seen = Album(folder).seen(row)
    assert seen.digests == ()
    assert all(pair.output is None for pair in seen.pairs)


def test_a_redacted_run_given_no_pictures_shows_none(folder: Path) -> None:
    found = judged(folder)
    page = Page(render_page(*redact(found.found.header, found.results, found.verdict), Beside()))
    assert not page.of("img")
    assert "Reproduce" not in page.text
