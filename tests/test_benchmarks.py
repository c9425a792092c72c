"""What the benchmarks compute: ratios of two works on one machine. Each runs here once, tiny, whatever its ratio is."""

import re
import subprocess
from contextlib import redirect_stdout
from io import StringIO

import pytest
import torch
from scripts import FOLDER, script
from small_pictures import fill

from memdetect.judging import judge, read_runs

startup = script("startup")


# Ratios


def test_a_ratio_pairs_neighbours_and_takes_turns():
    now, order = [0.0], []

    def work(name, seconds):
        def run():
            order.append(name)
            now[0] += seconds * (1 + len(order) // 2)  # a machine that gets slower and slower

        return run

    ratio = startup.compare(work("a", 3.0), work("b", 2.0), rounds=4, clock=lambda: now[0])
    assert order == ["a", "b", "a", "b", "b", "a", "a", "b", "b", "a"]
    assert len(ratio.values) == 4
    assert 1.0 < ratio.median < 2.2


def test_a_report_has_the_spread_and_the_bar():
    line = startup.Ratio((1.0, 1.1, 1.2, 1.3, 9.0)).report("A over B", 1.15)
    assert line == "A over B: 1.200 (quartiles 1.100 to 1.300, range 1.000 to 9.000, 5 rounds; bar 1.15: missed)"
    assert "bar 1.20: met" in startup.Ratio((1.2,)).report("A over B", 1.2)


# What is compared


def test_the_overhead_of_an_adapter_is_measured_against_its_own_bare_pipeline(monkeypatch):
    """The two works make the same latents, and an ended pass has fewer operations than a whole one."""
    overhead = script("overhead")
    model = overhead.tiny("ddpm")
    sampler = overhead.Sampler.of(model, steps=2, num_seeds=1, batch_size=2)
    probe = overhead.Probe.at(model)
    ended, whole = overhead.passes(probe, 2)
    assert 0.2 < overhead.operations(ended) / overhead.operations(whole) < 0.9
    made = []
    original = type(model.pipe).__call__
    with monkeypatch.context() as patched:
        patched.setattr(type(model.pipe), "__call__", lambda *a, **k: made.append(original(*a, **k)) or made[-1])
        overhead.bare(model, sampler, ["0", "1"], "")()
    trace = overhead.probe_prompts(model, ["", ""], ids=["0", "1"], sampler=sampler, probe=probe)
    bare = torch.from_numpy(made[0].images).permute(0, 3, 1, 2) * 2 - 1
    torch.testing.assert_close(trace.latents.flatten(0, 1), bare)


def test_the_run_that_the_gate_is_timed_on_is_sound(tmp_path):
    script("gate").make_run(tmp_path / "run", 30, 100)
    found = read_runs([tmp_path / "run"])
    _, verdict = judge(found.header, found.rows, found.calibration)
    assert (verdict.measured, verdict.complete, verdict.fixed, verdict.calibrated) == (30, True, True, 100)


@pytest.mark.parametrize(("part", "name"), [("shards", "0.jsonl"), ("images", "0/0.png"), (".", "results.jsonl")])
def test_a_form_that_makes_other_bytes_is_told(part, name, monkeypatch, capsys):
    equal, numbers = script("equal"), iter(range(3))

    def make(home):
        number = next(numbers)
        for path in ("shards/0.jsonl", "images/0/0.png", "results.jsonl"):
            (home.out / path).parent.mkdir(parents=True, exist_ok=True)
            (home.out / path).write_text("0")
        (home.out / part / name).write_text(str(number // 2))

    monkeypatch.setattr(equal, "FORMS", {key: (key, make) for key in ("first", "same", "other")})
    assert equal.main([]) == 1
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.rpartition("| ")[2] for row in rows] == ["yes |", "yes |", "no |"]


def test_a_form_that_fails_is_told(monkeypatch, capsys):
    equal = script("equal")

    def fails(home):
        home.end(home.start(["gate", str(home.out)]))

    monkeypatch.setattr(equal, "FORMS", {"first": ("first", fails)})
    assert equal.main([]) == 1
    assert "no: exit 2: " in capsys.readouterr().out


# Each once

ONCE = ["--rounds", "1"]
SCAN = ["--prompts", "2", "--steps", "2", "--num-seeds", "1", "--batch", "2", *ONCE]
TIMED = r": \d+\.\d{3,6} \(quartiles .*, 1 rounds"
RUNS = {  # what is compared: script, its options, and the line that it prints; MODEL and IMAGES are folders
    "startup": (ONCE, "memdetect --help over the help of a two-command Typer app" + TIMED),
    "probe overhead": (
        ["--only", "overhead", "--model", "MODEL", "--batch", "2", "--batches", "1", *ONCE],
        "probe_images over a bare truncated forward" + TIMED,
    ),
    "probe share": (
        ["--only", "share", "--width", "32", "--latent-side", "8", "--share-rounds", "1"],
        "share of time: a probe at the paper's point over a whole forward" + TIMED,
    ),
    "overhead": (
        ["--adapter", "ddpm", "--steps", "2", "--batch", "2", *ONCE],
        r"\| ddpm \| \d+\.\d\d \(.*\) \| \d+\.\d\d \(.*\) \| 0\.\d\d \| -?\d+\.\d\d \|",
    ),
    "scan overhead": (["--only", "overhead", "--model", "MODEL", *SCAN], "scan over the bare pipeline" + TIMED),
    "scan first": (
        ["--only", "first", "--model", "MODEL", *SCAN, "--num-seeds", "2", "--steps", "3"],
        r"4 detectors of the first \d steps over the bare passes" + TIMED,
    ),
    "scan lookup": (
        ["--only", "lookup", "--model", "MODEL", "--images", "IMAGES", *SCAN],
        r"scan with an index \(pdq\) over the same without" + TIMED,
    ),
    "scan memory": (
        ["--only", "memory", "--model", "MODEL", "--prompts", "1", "--num-seeds", "1", "--memory-rounds", "1"],
        r"peak memory of 4 over 1 prompts: \d+\.\d{3} \(",
    ),
    "index": (
        ["--count", "500", "--dim", "8", "--queries", "5", *ONCE],
        f"build of Flat over FAISS{TIMED}.*search of Flat over FAISS{TIMED}.*verify over reading and hashing{TIMED}",
    ),
    "index binary": (
        ["--only", "binary", "--count", "300", "--queries", "5", *ONCE],
        f"the nearest code of 100.0% of 5 queries.*search of BinaryFlat over FAISS{TIMED}",
    ),
    "align": (
        ["--side", "64", "--pairs", "2", "--rounds", "1"],
        rf"0\.\d\d of each original agrees.*aligning and comparing a pair over comparing it{TIMED}.*laid on 2 over 2",
    ),
    "index rate": (["--only", "rate", "--builds", "2"], r"false matches, leave-one-out, 2 indexes: \d+ of 100 = "),
    "gate": (
        ["--records", "30", "--clean", "100", *ONCE],
        "gate on 30 records over a Typer program that reads them" + TIMED,
    ),
    "shards protocol": (
        ["--only", "protocol", "--model", "MODEL", "--items", "3", "--num-seeds", "1", "--steps", "1", "--rounds", "1"],
        "a shard of 3 prompts, 1 images each.*the protocol over measuring the shard" + TIMED,
    ),
    "shards todo": (
        ["--only", "todo", "--shards", "7", "--rounds", "1"],
        r"finding what is left of 7 shards takes \d\.\d{3} s at most; bar 1",
    ),
    "equal": (
        [
            *("--only", "one", "--only", "ranks", "--only", "killed-rank", "--model", "MODEL", "--no-index"),
            *("--prompts", "3", "--steps", "1", "--shard-size", "1"),
        ],
        r"\| one process \| (`\w{12}`) \| (`\w{12}`) \| (`\w{12}`) \| yes \|"
        r"\s\| rank 0 of 2, then 1 of 2 \| \1 \| \2 \| \3 \| yes \|"
        r"\s\| two ranks at once, SIGKILL of one \(at \d shards\) \| \1 \| \2 \| \3 \| yes \|",
    ),
    "equal kills": (
        [
            *("--kills", "2", "--only", "killed-process", "--model", "MODEL", "--no-index"),
            *("--prompts", "2", "--steps", "1", "--shard-size", "1"),
        ],
        r"one process: \('\w{12}', .*\| one process, SIGKILL, again \| 2 \| \d\.\d to \d\.\d \| 2 \|",
    ),
    "gate memory": (
        ["--only", "memory", "--records", "50", "--clean", "100"],
        r"gate on 10 records: .*gate on 50 records: .* times parsing; most memory \d+ MB.*a record adds -?\d+ bytes",
    ),
    "screen": (
        ["--only", "cost", "--model", "MODEL", "--prompts", "2", "--steps", "3", "--share", "0.5", "--rounds", "1"],
        r"dcs: \d+ passes a prompt of \d+, \d\.\d{4} .*dcs: screen over a full scan of 3 steps, processor time" + TIMED,
    ),
    "large": (
        ["--count", "600", "--dim", "16", "--queries", "20", "--factory", "IVF8,SQ8"],
        r'"vectors".*"names".*"twice": null, "pictures": 600.*"IVF8,SQ8".*"ten": [01]\.\d+.*"planted": [01]\.',
    ),
    "adapters": (["--only", "DDPM-CIFAR10; 32"], r"\| DDPM-CIFAR10; 32 \| 36 \| 0\.\d+ \| 0\.\d+ \| 0\.\d\d \| "),
}


def test_every_benchmark_has_a_run():
    assert {name.split()[0] for name in RUNS} == {path.stem for path in FOLDER.glob("*.py")}


def run_here(command, **_):
    """A scan that has a process of its own, in this one: importing torch anew takes ten times as long as the scan."""
    with redirect_stdout(StringIO()) as out:
        assert script("scan").main(command[2:]) == 0
    return subprocess.CompletedProcess(command, 0, out.getvalue())


@pytest.mark.parametrize("name", RUNS)
def test_a_benchmark_ends_and_prints_what_it_compared(name, model_folder, tmp_path, capsys, monkeypatch):
    """A bar may be missed here: nothing is asked of how long it takes."""
    if name == "scan memory":
        monkeypatch.setattr(subprocess, "run", run_here)
    options, line = RUNS[name]
    threads = torch.get_num_threads()
    folders = {"MODEL": model_folder, "IMAGES": tmp_path / "images"}
    fill(tmp_path / "images", range(12))
    try:
        assert script(name.split()[0]).main([str(folders.get(option, option)) for option in options]) in (0, 1)
    finally:
        torch.set_num_threads(threads)
    assert re.search(line, capsys.readouterr().out, re.DOTALL)
