"""A run that is kept in object storage, as its user meets it: scanned, gated, reported, brought here, and refused."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from s3_server import KEY, SECRET, Account, serving

from memdetect.cli import run
from memdetect.errors import MemdetectError
from memdetect.runs import remote
from memdetect.runs.folder import RunFolder

RUN = "s3://bucket/team/run"
FAST = ["--steps", "1", "--num-seeds", "1", "--device", "cpu", "--no-index", "--shard-size", "2"]
Says = Callable[..., str]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "prompts.txt").write_text("a cat\na dog\na house\na red car\na bird\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def server(work: Path) -> Iterator[Account]:
    with serving() as account, pytest.MonkeyPatch.context() as patch:
        for name, value in {**account.env, "MEMDETECT_CACHE_DIR": str(work / "cache")}.items():
            patch.setenv(name, value)
        yield account


def scan(work: Path, model: Path, out: str) -> list[str]:
    return ["scan", str(work / "prompts.txt"), "--model", str(model), "--out", out, *FAST]


@pytest.fixture(scope="module")
def there(work: Path, model_folder: Path, server: Account) -> list[str]:
    """The arguments of a scan whose run is in the bucket."""
    arguments = scan(work, model_folder, RUN)
    assert run(arguments) == 0
    return arguments


@pytest.fixture
def says(capsys: pytest.CaptureFixture[str]) -> Says:
    """What a command says on stderr that ends with a code; no secret, and no traceback."""

    def check(code: int, *arguments: str | Path) -> str:
        capsys.readouterr()
        assert run([str(argument) for argument in arguments]) == code
        out, err = capsys.readouterr()
        for secret in (SECRET, KEY, "Traceback"):
            assert secret not in out + err
        return err

    return check


def objects(server: Account) -> dict[str, bytes]:
    return {name.removeprefix("team/run/"): data for name, data in server.buckets["bucket"].items()}


def test_the_bucket_holds_the_run(there: list[str], work: Path, model_folder: Path, server: Account) -> None:
    assert run(scan(work, model_folder, str(work / "local"))) == 0
    held = objects(server)
    paths = [path for part in ("shards", "images") for path in (work / "local" / part).rglob("*.*") if path.is_file()]
    for path in (*paths, work / "local" / "results.jsonl"):
        assert held.pop(path.relative_to(work / "local").as_posix()) == path.read_bytes()
    assert len(paths) == 3 + 5
    assert {name.partition("/")[0] for name in held} == {"run.json", "journal"}
    assert not Path("s3:").exists()


def test_the_same_command_again_measures_nothing(there: list[str], server: Account, says: Says) -> None:
    before, puts = objects(server), len([line for line in server.asked if line.startswith("PUT")])
    assert f"kept at: {RUN}" in says(0, *there)
    after = objects(server)
    assert {name: data for name, data in after.items() if not name.startswith("journal")} == {
        name: data for name, data in before.items() if not name.startswith("journal")
    }
    later = [line for line in server.asked if line.startswith("PUT")][puts:]
    assert not [line for line in later if "/shards/" in line or "/images/" in line]


def test_a_machine_that_has_nothing_of_it_judges_it(
    there: list[str], work: Path, server: Account, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMDETECT_CACHE_DIR", str(work / "reader"))
    assert "verdict: inconclusive" in says(3, "gate", RUN)
    assert "GET bucket/team/run/images" not in "\n".join(server.asked)
    says(3, "compare", RUN, RUN)
    says(2, "explain", RUN, "nobody")
    name = RunFolder(next((work / "reader").rglob("run.json")).parent).results()[0].id
    says(0, "explain", RUN, name)
    assert "name a file, as in -o report.html" in says(2, "report", RUN)
    says(0, "report", RUN, "-o", work / "page.html", "--evidence", "thumbs")
    assert (work / "page.html").stat().st_size > 1000
    assert [line for line in server.asked if line.startswith("GET bucket/team/run/images/")]
    assert "name a file with --out" in says(2, "review", RUN, "--reviewer", "A")


def test_a_run_is_brought_here(there: list[str], work: Path, server: Account, says: Says) -> None:
    assert "name it with --out" in says(2, "merge", RUN)
    assert "name one with --out" in says(2, "merge", RUN, "--out", "s3://bucket/joined")
    says(0, "merge", RUN, "--out", work / "here")
    held = objects(server)
    for path in (path for part in ("shards", "images") for path in (work / "here" / part).rglob("*.*")):
        assert held[path.relative_to(work / "here").as_posix()] == path.read_bytes()
    assert (work / "here" / "results.jsonl").read_bytes() == held["results.jsonl"]
    assert not list((work / "here").glob(".*"))
    says(3, "gate", work / "here")


def test_what_cannot_be_is_one_line(
    work: Path, model_folder: Path, server: Account, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last(code: int, out: str) -> str:
        return says(code, *scan(work, model_folder, out)).splitlines()[-1]

    assert last(2, "s3://bucket").endswith("write s3://BUCKET/RUN, of letters, digits and ._=+@-")
    assert "there is no bucket 'elsewhere'" in last(2, "s3://elsewhere/run")
    assert "--rank and --world" in says(2, *scan(work, model_folder, RUN), "--workers", "2")
    assert "is not a run: it has no run.json" in says(2, "gate", "s3://bucket/none")
    with pytest.raises(MemdetectError, match=r"s3://bucket/clean\.run is an address, and only a scan is kept there"):
        RunFolder(Path("s3://bucket/clean.run"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
    assert "access is refused (InvalidAccessKeyId)" in last(2, RUN)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(remote, "RETRIES", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    assert f"{RUN} cannot be reached" in last(4, RUN)


def test_two_machines_share_a_run_that_is_screened(
    work: Path, model_folder: Path, server: Account, says: Says, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The screen is measured by whoever is there; what it chose is shared; a reader brings both runs."""

    def on(name: str) -> None:
        monkeypatch.setenv("MEMDETECT_CACHE_DIR", str(work / name))
        for module in ("files", "runs.journal", "runs.attempts"):
            monkeypatch.setattr(f"memdetect.{module}.process", lambda: f"{name}.17-4711")

    address = "s3://bucket/team/screened"
    local, there = (
        [*scan(work, model_folder, out), "--screen", "0.5", "--screen-detector", "noise-gap", "--shard-size", "1"]
        for out in (str(work / "screened"), address)
    )
    assert run(local) == 0
    on("a")
    assert "its share is measured" in says(0, *there, "--rank", "0", "--world", "2", "--no-steal")
    on("b")
    says(0, *there, "--rank", "1", "--world", "2")
    held = {name.removeprefix("team/screened/"): data for name, data in server.buckets["bucket"].items()}
    paths = [path for path in (work / "screened").rglob("*.*") if path.suffix in (".png", ".jsonl")]
    for path in (path for path in paths if path.parent.name != "journal" and path.name != "pairs.png"):
        assert held[path.relative_to(work / "screened").as_posix()] == path.read_bytes()
    on("c")
    verdicts: list[dict[str, Any]] = []
    for name in (str(work / "screened"), address):
        capsys.readouterr()
        assert run(["gate", name, "--format", "json"]) == 3
        verdicts.append(json.loads(capsys.readouterr().out)["verdict"])
    assert verdicts[0] == verdicts[1]
    assert "integrity" not in {rule["name"] for rule in verdicts[1]["rules"]}
    del server.buckets["bucket"]["team/screened/screen/run.json"]
    capsys.readouterr()
    assert run(["gate", address, "--format", "json"]) == 3
    rules = json.loads(capsys.readouterr().out)["verdict"]["rules"]
    assert "integrity" in {rule["name"] for rule in rules}, "a screen that is gone is missed"
