"""What a source stands for: folders, globs and lists, their columns, and the line of whatever is wrong in one."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from memdetect.copies.index.sources import Listed, listed
from memdetect.errors import Exit, MemdetectError


def found(*sources) -> list[tuple[str, str | None, str | None]]:
    return [(entry.path.as_posix(), entry.key, entry.caption) for entry in listed(sources)]


def refusal(*sources) -> str:
    with pytest.raises(MemdetectError) as caught:
        list(listed(sources))
    assert caught.value.exit == Exit.USAGE
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("s/b.png", "s/a.JPG", "s/deep/c.webp", "s/.hidden.png", "s/.git/d.png", "s/notes.txt", "s/deep.gif/e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_folders_globs_and_images(here):
    assert [path for path, _, _ in found("s")] == ["s/a.JPG", "s/b.png", "s/deep/c.webp"]
    assert [path for path, _, _ in found("s/**/*[GgPp]")] == ["s/a.JPG", "s/b.png", "s/deep/c.webp"]
    assert "hits 's/notes.txt', which may be a list" in refusal("s/**/*.*")
    assert found("s/b.png", "s/a.JPG") == [("s/b.png", None, None), ("s/a.JPG", None, None)]


def test_lists_are_relative_to_their_own_folder(here):
    (here / "s" / "l.txt").write_text("b.png\n\n deep/c.webp\r\n/abs.png\n", encoding="utf-8-sig")
    assert [p for p, _, _ in found("s/l.txt")] == ["s/b.png", "s/ deep/c.webp", "/abs.png"]
    (here / "s" / "l.jsonl").write_text(
        '{"image": "b.png", "id": 7, "caption": "a\\ncat", "x": []}\n\n{"path": "q.png"}\n'
    )
    assert found("s/l.jsonl") == [("s/b.png", "7", "a\ncat"), ("s/q.png", None, None)]
    (here / "s" / "l.csv").write_text('file_name,key,text\nb.png,k,"one, two\nlines"\nc.png,,\n')
    assert found("s/l.csv") == [("s/b.png", "k", "one, two\nlines"), ("s/c.png", None, None)]
    (here / "s" / "l.tsv").write_text("path\tprompt\nb.png\ta, b\n")
    assert found("s/l.tsv") == [("s/b.png", None, "a, b")]
    assert next(listed(["s/l.tsv"])) == Listed(Path("s/b.png"), None, "a, b", "s/l.tsv, line 2")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("l.jsonl", b'{"path": "a.png"}\n{"path"\n', "line 2: cannot be read"),
        ("l.jsonl", b'{"path": "a.png"}\n["a.png"]\n', "line 2: cannot be read (an object is expected"),
        ("l.jsonl", b"[" * 100_000, "line 1: cannot be read"),
        ("l.jsonl", b'{"caption": "a"}\n', "line 1: no path among the columns ['caption']"),
        ("l.jsonl", b'{"path": ["a.png"]}\n', "line 1: the path is ['a.png'], expected text"),
        ("l.jsonl", b'{"path": "a.png", "caption": "\\ud800"}\n', "line 1: the caption is"),
        ("l.jsonl", b'{"path": "a\\u0000.png"}\n', "line 1: the path is"),
        ("l.csv", b"path,key\na.png\n", "line 2: cannot be read (the number of cells"),
        ("l.csv", b"path,key\na.png,b,c\n", "line 2: cannot be read (the number of cells"),
        ("l.csv", b"a,b\nc,d\n", "line 2: no path among the columns ['a', 'b']"),
        ("l.csv", b'path\n"a', "cannot be read (unexpected end of data)"),
        ("l.txt", b"\xff\xfe", "cannot be read ('utf-8' codec"),
        ("l.txt", b"\n\n", "holds no image"),
        ("l.csv", b"path\n", "holds no image"),
        ("l.xlsx", b"", "is neither an image nor a list of paths"),
    ],
)
def test_a_bad_list_is_named_with_its_line(here, name, text, said):
    (here / name).write_bytes(text)
    message = refusal(name)
    assert message.startswith(f"'{name}'")
    assert said in message


def test_sources_without_images_are_refused(here):
    assert "no images given" in refusal()
    assert "'s/deep.gif': holds no image" in refusal("s", "s/deep.gif")
    assert "'s/*.bmp': holds no image" in refusal("s/*.bmp")
    assert "'gone': no such file or folder" in refusal("gone")


def test_parquet_is_read_in_batches_of_the_columns_needed(here, monkeypatch):
    """pyarrow is an extra: what is asked of it, and what is made of its rows."""
    asked = {}

    class ParquetFile:
        schema_arrow = SimpleNamespace(names=["path", "caption", "embedding", "key"])

        def __init__(self, path):
            asked["path"] = path

        def iter_batches(self, batch_size, columns):
            asked["columns"] = columns
            for i in range(2):
                rows = [{"path": f"{i}.png", "caption": None, "key": i}]
                yield SimpleNamespace(to_pylist=lambda rows=rows: rows)

    module = ModuleType("pyarrow.parquet")
    module.ParquetFile = ParquetFile
    monkeypatch.setitem(sys.modules, "pyarrow", ModuleType("pyarrow"))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", module)
    (here / "s" / "l.parquet").touch()
    assert found("s/l.parquet") == [("s/0.png", "0", None), ("s/1.png", "1", None)]
    assert asked == {"path": Path("s/l.parquet"), "columns": ["path", "caption", "key"]}
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "needs pyarrow; install it with: pip install 'memdetect[parquet]'" in refusal("s/l.parquet")
