"""Objects of a run: the first writer wins, what is asked for comes, and every fault is one line without a secret."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import KEY, SECRET, Account, serving

from memdetect import files
from memdetect.errors import Exit, MemdetectError
from memdetect.runs import remote
from memdetect.runs.remote import Store, is_remote

RUN = Path("s3://bucket/team/run")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with serving() as account:
        for name, value in account.env.items():
            monkeypatch.setenv(name, value)
        yield account


def test_an_address_is_told_from_a_folder() -> None:
    assert is_remote(RUN)
    assert not any(is_remote(Path(name)) for name in ("runs/x", "/s3:/x", "s3", "./s3x:/bucket", "runs/s3:/x"))
    assert Store.at(RUN).url == "s3://bucket/team/run"
    assert Store.at(RUN / "base") == Store("bucket", "team/run/base")


@pytest.mark.parametrize(
    "name", ["s3://", "s3://bucket", "s3://bucket/../x", "s3://b/r?x", "s3://b/a b", "s3://u:p@b/r"]
)
def test_what_is_no_address_of_a_run_is_refused(name: str) -> None:
    with pytest.raises(MemdetectError, match="write s3://BUCKET/RUN") as told:
        Store.at(Path(name))
    assert told.value.exit is Exit.USAGE


def test_what_is_written_is_there(server: Account) -> None:
    store = Store.at(RUN)
    assert store.get("run.json") is None
    assert not store.has("run.json")
    assert store.create("run.json", b"first")
    assert not store.create("run.json", b"second")
    assert store.get("run.json") == b"first"
    assert store.has("run.json")
    store.put("run.json", b"third")
    assert server.buckets == {"bucket": {"team/run/run.json": b"third"}}


def test_a_listing_has_all_names_below_a_folder_page_by_page(server: Account) -> None:
    store, names = Store.at(RUN), [f"shards/{k:010d}.jsonl" for k in range(23)]
    for name in (*names, "shards2/x.jsonl", "images/a/b.png"):
        store.put(name, name.encode())
    server.buckets["bucket"]["team/run/shards/a b.jsonl"] = b"of somebody else"
    server.buckets["bucket"]["team/other/shards/y"] = b"of another run"
    found = store.tags("shards")
    assert sorted(found) == names
    assert len(set(found.values())) == len(names), "each content has a tag of its own"
    assert list(store.tags("images")) == ["images/a/b.png"]
    assert store.tags("parts") == {}
    server.buckets["bucket"]["team/run/shards/../../../etc/x"] = b"leads elsewhere"
    with pytest.raises(MemdetectError, match="s3://bucket/team/run cannot be"):
        store.tags("shards")


def test_of_many_writers_one_is_the_first(server: Account) -> None:
    won: dict[int, bool] = {}
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        won[number] = Store.at(RUN).create("shards/0.jsonl", f"writer {number}".encode())

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (first,) = [number for number, made in won.items() if made]
    assert server.buckets["bucket"]["team/run/shards/0.jsonl"] == f"writer {first}".encode()


def test_a_writer_whose_answer_is_lost_finds_its_own_object(server: Account) -> None:
    server.drop = 1
    assert Store.at(RUN).create("shards/0.jsonl", b"rows")
    assert server.asked.count("PUT bucket/team/run/shards/0.jsonl") == 2, "the answer was lost, and asked for again"


def test_no_bucket_is_one_line(server: Account) -> None:
    store = Store.at(Path("s3://elsewhere/run"))
    for do in (
        lambda: store.get("x"),
        lambda: store.put("x", b""),
        lambda: store.create("x", b""),
        lambda: store.tags("x"),
    ):
        with pytest.raises(MemdetectError, match="s3://elsewhere/run: there is no bucket 'elsewhere'") as told:
            do()
        assert told.value.exit is Exit.USAGE


def test_a_refusal_is_one_line_without_a_secret(server: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
    store = Store.at(RUN)
    for do in (
        lambda: store.get("x"),
        lambda: store.put("x", b""),
        lambda: store.create("x", b""),
        lambda: store.tags("x"),
    ):
        with pytest.raises(MemdetectError) as told:
            do()
        assert told.value.exit is Exit.USAGE
        assert str(told.value) == (
            "s3://bucket/team/run: access is refused (InvalidAccessKeyId); check the credentials"
        )


def test_a_server_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch, server: Account) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET}@127.0.0.1:{port}")
    monkeypatch.setattr(remote, "RETRIES", 0)
    with pytest.raises(MemdetectError, match="s3://bucket/team/run cannot be reached; check AWS_ENDPOINT_URL") as told:
        Store.at(RUN).get("x")
    assert told.value.exit is Exit.ERROR
    assert not any(secret in str(told.value) for secret in (SECRET, KEY, "user"))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(remote, "import_module", missing)
    with pytest.raises(MemdetectError, match=r"needs obstore, which is not installed; pip install memdetect\[cloud\]"):
        Store.at(RUN).get("x")


def test_a_large_file_goes_and_comes_in_pieces(
    server: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is larger than what may be held as a whole."""
    piece = 5 * 2**20  # the least that a part may have
    monkeypatch.setattr(remote, "PIECE", piece)
    monkeypatch.setattr(remote, "LARGEST", 2 * piece)
    monkeypatch.setattr(files, "LARGEST", 2 * piece)
    data = bytes(range(256)) * (3 * piece // 256) + b"the end"
    (tmp_path / "results.jsonl").write_bytes(data)
    store = Store.at(RUN)
    store.send("results.jsonl", tmp_path / "results.jsonl")
    assert server.buckets["bucket"] == {"team/run/results.jsonl": data}
    assert server.largest == piece
    assert not server.parts
    (tmp_path / "there").write_bytes(b"of before")
    before = len(server.asked)
    assert store.fetch("results.jsonl", tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == data
    assert len(server.asked) - before == 1 + 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.jsonl", "there"]


def test_a_file_that_is_replaced_while_it_is_read_is_not_mixed(
    server: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PIECE", 4)
    store, usual = Store.at(RUN), Store._piece
    for replaced, said in ((b"another text", "an object of s3://bucket/team/run"), (None, "s3://bucket/team/run/x")):
        store.put("x", b"some text")

        def piece(self: Store, name: str, start: int, *given: int, now: bytes | None = replaced) -> bytes:
            if start and now is not None:
                server.buckets["bucket"]["team/run/x"] = now
            elif start:
                server.buckets["bucket"].pop("team/run/x", None)
            return usual(self, name, start, *given)  # pyright: ignore[reportArgumentType]

        monkeypatch.setattr(Store, "_piece", piece)
        with pytest.raises(MemdetectError, match=f"^{said} was replaced while it was read") as told:
            store.fetch("x", tmp_path / "x")
        assert told.value.exit is Exit.ERROR
        assert not list(tmp_path.iterdir())


def test_a_small_file_takes_one_request_each_way(server: Account, tmp_path: Path) -> None:
    store = Store.at(RUN)
    assert not store.fetch("x", tmp_path / "x")
    for data in (b"", b"rows"):
        (tmp_path / "x").write_bytes(data)
        before = len(server.asked)
        store.send("x", tmp_path / "x")
        assert store.fetch("x", tmp_path / "deep" / "x")
        assert (tmp_path / "deep" / "x").read_bytes() == data
        assert len(server.asked) - before == 2
    assert store.tag("x") != store.tag("y") is None
