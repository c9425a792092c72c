"""FAISS in a process of its own: the same results, no torch there and no FAISS here, and no end that is a hang."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_pictures import QUICK, picture
from test_search import unit, written

from memdetect.copies.index import Searcher, build_index, draft, faiss_process, open_index
from memdetect.copies.index.faiss_process import FaissProcess
from memdetect.copies.index.manifest import file_sum
from memdetect.errors import Exit, MemdetectError

PARENT = """\
import os, sys
os.environ["PYTHONPROFILEIMPORTTIME"] = "1"  # of the processes that follow: each module they import, on stderr
{first}
from pathlib import Path
import numpy as np
from memdetect.copies.index import Searcher, draft
folder = Path({folder!r})
draft.write_faiss(folder, 400, 16, "IVF8,SQ8", "process")
found = Searcher(folder, 400, 16, "IVF8,SQ8", 8, "process").search(np.eye(16, dtype=np.float32), 3)
print(found[1].tolist(), "faiss" in sys.modules, "torch" in sys.modules)
"""


def gone(pid: int, seconds: float = 20) -> bool:
    """Whether a process ends within that time. One that nobody waits for is a zombie, which counts as ended."""
    for _ in range(int(seconds * 20)):
        table = Path(f"/proc/{pid}/stat")
        try:
            os.kill(pid, 0)
            if table.exists() and table.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """One IVF index, searched in this process and in another."""
    here = written(tmp_path_factory.mktemp("pair") / "i", unit(3000, 32, 0), "IVF32,SQ8", nprobe=4)
    return here, replace_engine(here, "process")


def replace_engine(searcher: Searcher, engine) -> Searcher:
    return Searcher(searcher.folder, searcher.count, searcher.dim, searcher.factory, searcher.nprobe, engine)


@settings(max_examples=40)
@given(queries=st.integers(1, 40), k=st.integers(1, 3000), seed=st.integers(0, 2**16))
def test_both_find_the_same_bits(pair, queries, k, seed):
    here, there = (searcher.search(unit(queries, 32, seed), k) for searcher in pair)
    np.testing.assert_array_equal(here[0], there[0])
    np.testing.assert_array_equal(here[1], there[1])


@pytest.mark.parametrize("factory", ["Flat", "IVF4,SQ8", "IVF9,SQfp16", "IVF3,Flat"])
@pytest.mark.parametrize(("count", "dim", "queries"), [(9, 3, 2), (700, 24, 1100), (5000, 130, 33)])
def test_both_write_and_find_the_same(tmp_path, factory, count, dim, queries):
    """More queries than go in one request, fewer rows than are asked for; every kind of index, of several sizes."""
    here = written(tmp_path / "i", unit(count, dim, 0), factory, engine="faiss")
    asked = unit(queries, dim, 1)
    expected = here.search(asked, 11)
    if factory != "Flat":
        sums = file_sum(tmp_path / "i" / "index.faiss")
        (tmp_path / "i" / "index.faiss").unlink()
        draft.write_faiss(tmp_path / "i", count, dim, factory, "process")
        assert file_sum(tmp_path / "i" / "index.faiss") == sums
    found = replace_engine(here, "process").search(asked, 11)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_an_index_is_built_and_opened_with_it(pictures, tiny, tmp_path):
    options = replace(QUICK, factory="IVF4,SQ8")
    here = build_index([pictures], tiny, tmp_path / "here", options)
    there = build_index([pictures], tiny, tmp_path / "there", replace(options, engine="process"))
    fields = {"files", "digest"}  # the rows say where the images are, seen from the folder: the same here
    assert there.manifest.model_dump(exclude=fields) == here.manifest.model_dump(exclude=fields)
    assert there.manifest.files["index.faiss"] == here.manifest.files["index.faiss"]
    vectors = tiny.embed([picture(5), picture(70)])
    opened = open_index(tmp_path / "here", tiny, engine="process")
    assert opened.nearest(vectors, 4) == here.nearest(vectors, 4)


@pytest.mark.parametrize(
    "first", ["", "import torch; print('once')"], ids=["plain", "a main module that imports torch"]
)
def test_no_torch_there_and_no_faiss_here(tmp_path, first):
    """What the other process imports, by its own account; the main module of this one is not run again there."""
    expected = written(tmp_path / "i", unit(400, 16, 0), "IVF8,SQ8", nprobe=8).search(np.eye(16, dtype=np.float32), 3)
    script = tmp_path / "main.py"
    script.write_text(PARENT.format(first=first, folder=str(tmp_path / "i")))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    once = ["once"] if first else []
    assert done.stdout.splitlines() == [*once, f"{expected[1].tolist()} False {bool(first)}"]
    lines = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    there = {name.partition(".")[0] for name in lines}
    assert {"faiss", "numpy"} <= there
    assert not {"torch", "memdetect", "jaxtyping", "pydantic"} & there
    assert lines.count("faiss") == 2  # one process wrote, one searched


@pytest.mark.parametrize(("factory", "engine"), [("IVF4,SQ8", "process"), ("Flat", "numpy")])
def test_on_macos_it_is_the_usual_engine(tmp_path, monkeypatch, factory, engine):
    """Searching and writing: FAISS is not touched in this process."""
    import faiss

    searcher = written(tmp_path / "i", unit(60, 8, 0), factory)
    expected = searcher.search(unit(5, 8, 1), 3)
    assert searcher.engine == "faiss"
    monkeypatch.setattr(sys, "platform", "darwin")
    for name in ("read_index", "index_factory", "IndexFlatIP", "write_index"):
        monkeypatch.setattr(faiss, name, None)
    again = written(tmp_path / "j", unit(60, 8, 0), factory)
    assert again.engine == engine
    np.testing.assert_array_equal(again.search(unit(5, 8, 1), 3)[1], expected[1])


def test_numpy_cannot_search_an_ivf(tmp_path):
    with pytest.raises(MemdetectError, match="engine is 'numpy', but IVF4,SQ8 needs FAISS; give 'faiss' or 'process'"):
        written(tmp_path / "i", unit(60, 8, 0), "IVF4,SQ8", engine="numpy")


def test_its_errors_are_those_of_this_process(tmp_path):
    """Rubbish, a cut file and other vectors: word for word, and the process can be asked again."""
    searcher = written(tmp_path / "i", unit(60, 8, 0), "IVF4,SQ8")
    path = tmp_path / "i" / "index.faiss"
    sound = path.read_bytes()
    other = written(tmp_path / "o", unit(61, 8, 0), "IVF4,SQ8").folder / "index.faiss"
    for content in (b"rubbish" * 30, sound[:300], other.read_bytes()):
        path.write_bytes(content)
        said = []
        for engine in ("faiss", "process"):
            with pytest.raises(MemdetectError) as caught:
                replace_engine(searcher, engine).search(unit(1, 8, 1), 1)
            assert caught.value.exit == Exit.USAGE
            said.append(str(caught.value))
        assert said[0] == said[1]
        assert str(path) in said[0]
        assert "\n" not in said[0]


def test_whatever_fails_there_is_one_line(tmp_path):
    (tmp_path / "short").write_bytes(b"1234")
    given = {"vectors": str(tmp_path / "short"), "count": 60, "dim": 8, "factory": "IVF4,SQ8", "target": "t"}
    with pytest.raises(MemdetectError, match=r"FAISS failed in its process \(ValueError: .*\); report") as caught:
        faiss_process.write(**given)
    assert caught.value.exit == Exit.ERROR
    assert "\n" not in str(caught.value)
    process = FaissProcess()
    with pytest.raises(MemdetectError, match="FAISS failed in its process"):
        process.ask({"do": "nothing like it"})
    with pytest.raises(MemdetectError, match="FAISS failed in its process"):
        process.ask({"do": "search", "k": 1}, unit(1, 8, 0))
    assert process.usable
    process.close()
    assert gone(process._process.pid)


def test_one_that_cannot_start_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/python")
    with pytest.raises(MemdetectError, match="FAISS's process cannot be started"):
        FaissProcess()


@pytest.mark.parametrize("busy", [False, True])
def test_a_killed_process_is_an_error_and_the_next_search_starts_another(tmp_path, busy):
    searcher = written(tmp_path / "i", unit(60, 8, 0), "IVF4,SQ8", engine="process")
    expected = searcher.search(unit(5, 8, 1), 3)
    first = searcher._candidates.process
    if busy:  # it has the request and never answers
        os.kill(first._process.pid, signal.SIGSTOP)
        threading.Timer(1, os.kill, (first._process.pid, signal.SIGKILL)).start()
    else:
        os.kill(first._process.pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(MemdetectError) as caught:
        searcher.search(unit(5, 8, 1), 3)
    assert time.monotonic() - start < 60
    assert "FAISS's process ended before it answered (signal 9, SIGKILL)" in str(caught.value)
    assert caught.value.exit == Exit.ERROR
    np.testing.assert_array_equal(searcher.search(unit(5, 8, 1), 3)[1], expected[1])
    assert searcher._candidates.process._process.pid != first._process.pid


def test_an_interrupt_does_not_leave_an_answer_to_the_next_request(pair, monkeypatch):
    _, there = pair
    expected = there.search(unit(3, 32, 5), 4)
    first = there._candidates.process

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(faiss_process.faiss_work, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            there.search(unit(3, 32, 6), 4)
    assert gone(first._process.pid)
    np.testing.assert_array_equal(there.search(unit(3, 32, 5), 4)[1], expected[1])


def test_threads_and_forks_do_not_mix_their_answers(pair, monkeypatch):
    here, there = pair
    wrong = []
    asked = [unit(20, 32, seed) for seed in range(10)]
    expected = [here.search(queries, 3)[1] for queries in asked]
    together = threading.Barrier(8)

    def ask(number: int) -> None:
        if not np.array_equal(there.search(asked[number], 3)[1], expected[number]):
            wrong.append(number)

    def often(number: int) -> None:
        together.wait()
        try:
            for _ in range(25):
                ask(number)
        except MemdetectError:
            wrong.append(number)

    ask(0)
    monkeypatch.setattr(faiss_process, "PATIENCE", 0.1)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=often, args=(number,), daemon=True) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    sys.setswitchinterval(usual)
    assert not wrong
    process = there._candidates.process
    assert process.usable
    process._owner += 1  # as it would be seen by a fork
    ask(9)
    assert not wrong
    assert there._candidates.process._process.pid != process._process.pid


def test_it_ends_with_the_searcher(tmp_path):
    searcher = written(tmp_path / "i", unit(60, 8, 0), "IVF4,SQ8", engine="process")
    searcher.search(unit(1, 8, 0), 1)
    pid = searcher._candidates.process._process.pid
    del searcher
    assert gone(pid)


BUSY = """\
import os, sys, threading, time
from memdetect.copies.index.faiss_process import FaissProcess
process = FaissProcess()
given = {{"vectors": {vectors!r}, "count": 60000, "dim": 512, "factory": "IVF30000,Flat", "target": {target!r}}}
if sys.argv[1] == "busy":
    threading.Thread(target=process.ask, args=({{"do": "write", "given": given}},), daemon=True).start()
    time.sleep(2)
else:
    try:
        process.ask({{"do": "nothing"}})
    except Exception:
        pass
print(process._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("what", ["idle", "busy"])
def test_it_ends_with_its_parent(tmp_path, what):
    """The parent is killed while the other waits, or trains (18 billion products of 512, ten times, on one thread)."""
    if what == "busy":
        np.tile(unit(600, 512, 0).astype(np.float16), (100, 1)).tofile(tmp_path / "v")
    code = BUSY.format(vectors=str(tmp_path / "v"), target=str(tmp_path / "t"))
    one = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, what], stdout=subprocess.PIPE, text=True, env=one)
    assert done.returncode == -signal.SIGKILL
    assert gone(int(done.stdout))
    assert not (tmp_path / "t").exists()
