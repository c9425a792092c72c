"""One item in full, and the command that makes it again, read back by the tools that would run it."""

import json
import shlex
import subprocess

from synthetic_runs import part, plan_of

from memdetect.copies.match import Match
from memdetect.render.explain import render_explanation
from memdetect.runs.header import Header
from memdetect.runs.records import Result, Score

PLAN = {
    "num_seeds": 2,
    "seed": 3,
    "steps": 20,
    "guidance_scale": 2.5,
    "layers": ["mid"],
    "timesteps": [50],
    "detectors": ["spikiness"],
    "dtype": "fp32",
    "call": {"negative_prompt": "it's red"},
}
HEADER = Header(memdetect="0", created="", model="m", versions={}, plan=plan_of(**PLAN), planned=1, index={"rows": 3})
NASTY = "a 'cat' \x1b[31m $(rm) \\n"


def row(**changes) -> Result:
    near = Match(seed=1, rank=1, key="k.png", path="t/k.png", similarity=0.98, p=0.01, tile=0.1, ssim=0.9)
    facts = {
        "index": 0,
        "id": "x1",
        "prompt": NASTY,
        "source": "p.txt",
        "line": 4,
        "seeds": [11, 12],
        "files": ["images/0-0.png", "images/0-1.png"],
        "scores": {"spikiness": Score(score=1.5, cells={"mid": {"50": [1.0, 2.0], "100": [None, 1.0]}})},
        "matches": [near.model_copy(update={"copy_found": True})],
        "judged": {"combined": 1.25, "spikiness": 1.25},
        "p": {"combined": 0.02, "spikiness": 0.03},
        "outcome": "copy",
        "reason": "image 1 is a copy of k.png",
    }
    return Result(**{**facts, **changes})


def test_scores_matches_and_reason_are_there():
    text = render_explanation(HEADER, row())
    assert "x1: copy (image 1 is a copy of k.png)" in text
    assert "spikiness 1.2500 (p = 0.03)" in text
    assert "p = 0.02 of 1.2500, which decides" in text
    assert "t=50" in text
    assert "1.5000           -" in text  # the mean over seeds at t = 50; a value that is missing at t = 100
    assert "images/0-1.png #1: copy k.png [t/k.png] similarity 0.9800, p 0.01, tile 0.100, MS-SSIM 0.900" in text
    assert "1 of 2 images are copies" in text
    assert "\x1b" not in text


def test_a_part_is_told_with_how_it_was_aligned_and_where_it_agrees():
    mirrored = part("k.png", affine=(-4 / 3, 0, 4 / 3, 0, 1, 0), path="t/k.png")
    text = render_explanation(HEADER, row(matches=[mirrored, part("l.png", 1, affine=None, region=None)]))
    lines = [line.strip() for line in text.splitlines()]
    assert "0 of 2 images are copies, 2 repeat a part of a training image; nearest training images:" in lines
    k = lines.index("images/0-0.png #1: in part k.png [t/k.png] similarity 0.6000, tile 0.400, MS-SSIM 0.300")
    assert lines[k + 1 : k + 4] == [
        "aligned: the training image is mirrored, enlarged to 115%, cut to 25-100% of its width",
        "its 25-100% of the width and 0-100% of the height lies at 0-100% of the width and 0-100% of the height "
        "of the image",
        "31% of the training image agrees (p 0.001), the largest part at its 10-60% of the width and 20-80% of the "
        "height",
    ]
    assert "31% of the training image agrees (p 0.001)" in lines


def test_the_command_makes_this_very_item():
    last = render_explanation(HEADER, row()).splitlines()[-1].strip()
    feed, command = last.split(" | memdetect ", 1)
    words = shlex.split(feed)
    assert words[:2] == ["printf", "%s\\n"]
    assert json.loads(words[2]) == {"id": "x1", "prompt": NASTY}
    words = shlex.split(command)
    assert words[:4] == ["scan", "-", "--prompts-format", "jsonl"]
    for flag, value in (("--num-seeds", "2"), ("--seed", "3"), ("--guidance-scale", "2.5"), ("--model", "m")):
        assert words[words.index(flag) + 1] == value
    assert words[words.index("--call") + 1] == 'negative_prompt="it\'s red"'


def test_a_given_image_and_a_run_without_an_index():
    header = HEADER.model_copy(update={"index": {}})
    text = render_explanation(header, row(prompt=None, image="in/a.png", files=[], matches=[]))
    assert "no training images were searched" in text
    assert text.splitlines()[-1].strip().startswith("memdetect scan in/a.png --model m")


def test_the_command_names_index_lora_and_revision_and_what_was_not_searched():
    opening = {"loras": ["a b.safetensors@0.7", "c.safetensors"], "revision": "v2", "cpu_offload": True}
    index = {"rows": 3, "top_k": 5, "given": "my index"}
    words = again(
        HEADER.model_copy(update={"opening": opening, "index": index, "plan": plan_of(**PLAN, index="d")}), row()
    )
    assert [words[i + 1] for i, word in enumerate(words) if word == "--lora"] == opening["loras"]
    for flag, value in (("--revision", "v2"), ("--index", "my index"), ("--top-k", "5")):
        assert words[words.index(flag) + 1] == value
    assert "--cpu-offload" in words
    assert "--no-index" not in words
    words = again(HEADER.model_copy(update={"index": {}, "plan": plan_of(**PLAN)}), row())
    assert "--no-index" in words


def test_the_command_names_the_embedders_weights_and_writes_below_runs():
    index = {"rows": 3, "top_k": 5, "weights": "w/sscd.pt", "trust_torchscript": True}
    words = again(HEADER.model_copy(update={"index": index, "plan": plan_of(**PLAN, index="d")}), row())
    assert words[words.index("--weights") + 1] == "w/sscd.pt"
    assert "--trust-torchscript" in words
    words = again(HEADER, row(id="../../x y/z"))
    assert words[words.index("--out") + 1] == "runs/_.._x_y_z"
    assert again(HEADER, row(id=".."))[-1] == "runs/again"


def test_what_has_no_prompt_is_asked_for_as_it_was():
    words = again(HEADER, row(id="unconditional-0000012", prompt="", source="--unconditional"))
    assert words[1:4] == ["scan", "--unconditional", "13"]
    assert again(HEADER, row(id="label-7", prompt="7", source="--labels"))[1:4] == ["scan", "--labels", "7"]


def again(header: Header, item: Result) -> list[str]:
    return shlex.split(render_explanation(header, item).splitlines()[-1].strip().rpartition(" | ")[2])


def test_nothing_that_a_run_holds_reaches_the_terminal_raw():
    evil = "\x1b]0;owned\x07\n::error::x ##[error]"
    text = render_explanation(HEADER, row(id=evil, source=evil, reason=evil, notes=[evil], files=[evil, evil]))
    assert not set(text) & {"\x1b", "\x07"}
    assert not any(line.startswith("::") or "##[" in line for line in text.splitlines())


def test_the_command_for_a_hostile_image_names_that_image():
    image = "a b/\x1b[31m##[error]'\\é.png"
    text = render_explanation(HEADER, row(prompt=None, image=image, seeds=[], files=[]))
    line = text.split("make it again:\n")[1].strip()
    assert "\x1b" not in line
    shown = subprocess.run(["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, check=True, text=True)
    assert image in shown.stdout.splitlines()
