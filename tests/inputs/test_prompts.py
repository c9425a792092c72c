"""Prompt files read back as they were written, and every hostile one is a one-line error that says where and what."""

import csv
import gzip
import hashlib
import io
import json
import os
import pickle
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from memdetect.errors import Exit, MemdetectError
from memdetect.inputs import prompts
from memdetect.inputs.prompts import Request, Requests, read
from memdetect.inputs.wording import unseen

any_folder = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def some_texts(without: str = "\0") -> st.SearchStrategy[list[str]]:
    """Valid prompts, different also when normalised."""
    shown = st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp"], exclude_characters=without + "[{")
    text = st.text(
        shown | st.sampled_from("".join(c for c in "\t\r\n" if c not in without) or "x"), min_size=1, max_size=30
    )
    text = text.filter(lambda own: own.strip() and not unseen(own))
    return st.lists(text, min_size=1, max_size=8, unique_by=lambda text: unicodedata.normalize("NFC", text))


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def asked(requests: Requests) -> list[str | None]:
    return [request.prompt for request in requests.items]


def refusal(*sources: str | Path, column: str | None = None, format: str | None = None) -> str:
    """The message with which these sources are refused: a usage error of one line."""
    with pytest.raises(MemdetectError) as caught:
        read(sources, column=column, format=format)
    assert caught.value.exit is Exit.USAGE
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def table(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue()


@any_folder
@given(some_texts(), st.sampled_from(["", "\ufeff"]))
def test_jsonl_and_json_read_back(tmp_path: Path, texts: list[str], mark: str):
    rows = [json.dumps({"prompt": text, "n": n}, ensure_ascii=n % 2 == 0) for n, text in enumerate(texts)]
    lines = read([put(tmp_path, "p.jsonl", mark + "\n".join(rows))]).items
    items = read([put(tmp_path, "p.json", mark + "[\n" + ",\n".join(rows) + "\n]\n")]).items
    assert [(r.prompt, r.line, r.meta) for r in lines] == [(text, n + 1, {"n": n}) for n, text in enumerate(texts)]
    assert [(r.prompt, r.line, r.meta) for r in items] == [(text, n + 2, {"n": n}) for n, text in enumerate(texts)]


@any_folder
@given(some_texts(without="\0\r\n"), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_txt_reads_back(tmp_path: Path, texts: list[str], newline: str, ended: bool):
    path = put(tmp_path, "p.txt", "\ufeff" + newline.join(texts) + newline * ended)
    assert asked(read([path])) == texts


@any_folder
@given(some_texts(), st.sampled_from(",\t;|"), st.sampled_from(["csv", "tsv"]))
def test_tables_read_back_with_any_delimiter(tmp_path: Path, texts: list[str], delimiter: str, suffix: str):
    rows = [["n", "Caption", "note"], *([str(n), text, "x, y; z|\t"] for n, text in enumerate(texts))]
    found = read([put(tmp_path, f"p.{suffix}", table(rows, delimiter))]).items
    wanted = [(text, {"n": str(n), "note": "x, y; z|\t"}) for n, text in enumerate(texts)]
    assert [(r.prompt, r.meta) for r in found] == wanted


@any_folder
@given(some_texts(), st.sampled_from(",\t;|"))
def test_a_table_of_one_column_reads_back(tmp_path: Path, texts: list[str], delimiter: str):
    rows = [["prompt"], *([text] for text in texts)]
    assert asked(read([put(tmp_path, "p.csv", table(rows, delimiter))])) == texts


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_commas_in_a_table_of_one_column_do_not_split(tmp_path: Path, suffix: str):
    path = put(tmp_path, f"p.{suffix}", 'prompt\na cat, a dog; a|b\n5" pipe, red\n"quoted, once"\n')
    assert asked(read([path])) == ["a cat, a dog; a|b", '5" pipe, red', "quoted, once"]


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        (
            'Prompt\tNote\na sign that says "Hi"\tx\n"Hello" in chalk\tx\n',
            ['a sign that says "Hi"', '"Hello" in chalk'],
        ),
        ('Prompt\tNote\n"a quote that never ends\tx\nlast "word\tx\n', ['"a quote that never ends', 'last "word']),
        ('Prompt\tNote\n"quoted in the text"\tx\nplain\tx\n', ['"quoted in the text"', "plain"]),
        ('"Prompt"\t"Note"\n"a cat"\t"x"\n"a ""dog"""\t"x"\n', ["a cat", 'a "dog"']),
        ('Prompt\tNote\n"a ""dog"""\tx\n"two\twords"\ty\n', ['a "dog"', "two\twords"]),
    ],
)
def test_cells_between_tabs_are_as_they_stand_unless_the_table_quotes(tmp_path: Path, text: str, prompts: list[str]):
    assert asked(read([put(tmp_path, "p.tsv", text)])) == prompts


@any_folder
@given(some_texts(without="\0\t\r\n"))
def test_a_table_that_quotes_nothing_reads_back(tmp_path: Path, texts: list[str]):
    """Unless it looks as if it quoted: then the marks are the table's."""
    rows = [["prompt", "note"], *([text, 'a 5" pipe'] for text in ['"a" sign', *texts])]
    path = put(tmp_path, "p.tsv", "".join("\t".join(row) + "\n" for row in rows))
    assert asked(read([path])) == list(dict.fromkeys(row[0] for row in rows[1:]))


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;\r"])
def test_a_spreadsheet_may_name_its_delimiter(tmp_path: Path, first: str):
    found = read([put(tmp_path, "p.csv", f"{first}\nprompt, long;n\na red apple, cut;1\n")], column="prompt, long")
    assert [(r.prompt, r.line, r.meta) for r in found.items] == [("a red apple, cut", 3, {"n": "1"})]


def test_a_prompt_in_a_table_may_be_as_long_as_any(tmp_path: Path):
    assert asked(read([put(tmp_path, "p.csv", "id,prompt\n1," + "b" * 2**20)])) == ["b" * 2**20]


def test_parquet_is_read_by_its_plain_columns(tmp_path: Path):
    columns = {"TEXT": ["a cat", "a \u00e9 dog"], "n": [1, 2], "f": [0.5, float("nan")], "part": ["x", "y"]}
    table = pyarrow.table(columns | {"image": [{"bytes": b"png", "path": "a.png"}] * 2, "tags": [["a"], ["b"]]})
    parquet.write_table(table, tmp_path / "p.parquet")
    found = read([tmp_path / "p.parquet"]).items
    meta = [{"n": 1, "f": 0.5, "part": "x"}, {"n": 2, "f": None, "part": "y"}]
    assert [(r.prompt, r.line, r.meta) for r in found] == [("a cat", 1, meta[0]), ("a \u00e9 dog", 2, meta[1])]
    assert asked(read([tmp_path / "p.parquet"], column="part")) == ["x", "y"]
    parquet.write_table(pyarrow.table({"prompt": ["a", None]}), tmp_path / "q.parquet")
    assert "'line 2: the prompt is empty" in refusal(tmp_path / "q.parquet").replace("', line", "'line")


def test_a_parquet_file_that_is_none_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    path = put(tmp_path, "p.parquet", "junk")
    assert "needs pyarrow; install it with: pip install 'memdetect[parquet]'" in refusal(path)
    assert "parquet cannot be read from stdin; name the file" in refusal("-", format="parquet")


def test_the_delimiter_is_the_one_that_sets_the_prompt_apart(tmp_path: Path):
    path = put(tmp_path, "p.csv", "prompt;a, b, c\na cat, a dog, a cow;1\n")
    assert [(r.prompt, r.meta) for r in read([path]).items] == [("a cat, a dog, a cow", {"a, b, c": "1"})]
    path = put(tmp_path, "q.csv", "my;prompt|x;y;z\ncat|1;2;3\n")
    assert asked(read([path], column="my;prompt")) == ["cat"]


def test_tables_count_lines_through_quoted_newlines_and_old_line_ends(tmp_path: Path):
    found = read([put(tmp_path, "p.csv", '\nid, prompt,\n1,"two\nlines, ""q""",\n\n2,b,\n')])
    rows = [("1", 'two\nlines, "q"', 3, {}), ("2", "b", 6, {})]
    assert ([(r.id, r.prompt, r.line, r.meta) for r in found.items], found.blank) == (rows, 2)
    assert asked(read([put(tmp_path, "mac.csv", "id,prompt\r1,a\r2,b\r")])) == ["a", "b"]


def test_txt_is_kept_as_it_is(tmp_path: Path):
    found = read([put(tmp_path, "p.txt", "# no comment\n\n  \n a b\u3000c\ufe0fd\u200de \r\n{x}\r\r\nlast")])
    wanted = [("# no comment", 1), (" a b\u3000c\ufe0fd\u200de ", 4), ("{x}", 5), ("last", 7)]
    assert [(r.prompt, r.line) for r in found.items] == wanted
    assert (found.blank, found.repeated, found.items[0].meta) == (3, 0, {})


def test_ids(tmp_path: Path):
    rows = '{"prompt": "caf\\u00e9"}\n{"id": 7, "text": "b"}\n{"id": " ", "TEXT": "c"}\n{"id": "x", "prompt": "b"}\n'
    found = read([put(tmp_path, "p.jsonl", rows)]).items
    hashes = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in ("caf\u00e9", "c")]
    assert [r.id for r in found] == [hashes[0], "7", hashes[1], "x"]
    assert pickle.loads(pickle.dumps(found)) == found


def test_repeated_prompts_are_kept_once_and_counted(tmp_path: Path):
    one = put(tmp_path, "a.txt", "cafe\u0301\ncaf\u00e9\ncat\n")
    two = put(tmp_path, "b.jsonl", '{"prompt": "cat"}\n{"id": "1", "prompt": "x"}\n{"id": 1, "prompt": "x"}\n')
    found = read([one, two])
    assert (asked(found), found.repeated) == (["cafe\u0301", "cat", "x"], 3)


def test_prompt_columns_in_order(tmp_path: Path):
    def chosen(row: dict[str, str], column: str | None = None) -> str | None:
        return read([put(tmp_path, "p.jsonl", json.dumps(row))], column=column).items[0].prompt

    row = {"tExt": "7", "TEXT": "6", "Caption": "5", "Prompt": "4", "text": "3", "caption": "2", "prompt": "1"}
    for left in range(7, 0, -1):
        assert chosen(dict(list(row.items())[:left])) == str(8 - left)
    assert chosen({"text": "a", "PROMPT": "b"}) == "a"
    assert chosen({"CAPTION": "a", "PROMPT": "b"}) == "b"
    assert chosen({"prompt": "a", "de": "b"}, column="de") == "b"
    assert chosen({"id": "a"}, column="id") == "a"


def test_rows_may_name_images(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    for name in ("a", "b"):
        put(tmp_path / "sub", f"{name}.png", name)
    rows = [
        {"image": "a.png", "label": 1},
        {"prompt": None, "path": "b.png", "id": "i"},
        {"file_name": "a.png", "text": "c"},
        {"file": str(tmp_path / "sub" / "a.png")},
    ]
    path = put(tmp_path / "sub", "p.jsonl", "\n".join(map(json.dumps, rows)))
    found = read([path])
    digest = hashlib.sha256(b"a").hexdigest()[:16]
    assert found.items[0] == Request(digest, None, tmp_path / "sub" / "a.png", str(path), 1, {"label": 1})
    assert found.items[1] == Request("i", None, tmp_path / "sub" / "b.png", str(path), 2, {})
    assert (found.items[2].prompt, found.items[2].meta) == ("c", {"file_name": "a.png"})
    assert (len(found.items), found.repeated) == (3, 1)
    mixed = put(tmp_path / "sub", "p.csv", "prompt,image\na cat,\n,b.png\n")
    assert [(r.prompt, r.image and r.image.name) for r in read([mixed]).items] == [("a cat", None), (None, "b.png")]


def test_folders_globs_and_literal_names(tmp_path: Path):
    (tmp_path / "in" / ".hidden").mkdir(parents=True)
    for name in ("in/b.PNG", "in/a.webp", "c.jpg", ".hidden.png", "in/.hidden/x.png", "note.md"):
        put(tmp_path, name, name.encode())
    assert [r.source for r in read([tmp_path]).items] == [str(tmp_path / n) for n in ("c.jpg", "in/a.webp", "in/b.PNG")]
    path, digest = tmp_path / "c.jpg", hashlib.sha256(b"c.jpg").hexdigest()[:16]
    assert read([tmp_path]).items[0] == Request(digest, None, path, str(path), None, {})
    put(tmp_path, "p1.txt", "one")
    put(tmp_path, "p[1].txt", "literal")
    assert asked(read([tmp_path / "p[1].txt", tmp_path / "p[12].txt"])) == ["literal", "one"]
    assert len(read([tmp_path / "in" / ".hidden", f"{tmp_path}/in/.hidden/*"]).items) == 1
    assert len(read([f"{tmp_path}/**/*.[jPw]*", tmp_path / "p1.txt"]).items) == 4


AB = {"txt": "a\nb", "jsonl": '"a"\n"b"', "json": '["a", "b"]', "csv": "text\na\nb", "tsv": "Text\na\nb"}


@pytest.mark.parametrize(("suffix", "text"), AB.items())
def test_gzip_byte_order_mark_and_forced_format(tmp_path: Path, suffix: str, text: str):
    data = b"\xef\xbb\xbf" + text.encode()
    assert asked(read([put(tmp_path, f"p.{suffix}", data)])) == ["a", "b"]
    assert asked(read([put(tmp_path, f"P.{suffix.upper()}.GZ", gzip.compress(data, mtime=0))])) == ["a", "b"]
    assert asked(read([put(tmp_path, "p.dat", data)], format=suffix)) == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "format", "wanted"),
    [
        (b'\n {"prompt": "a"}\n\n', None, ["a"]),
        (b"[a]\n#b\n", None, ["[a]", "#b"]),
        (b"{a}\n", "txt", ["{a}"]),
        (b'["a cat",\n"b"]', None, ["a cat", "b"]),
        (b'[{"prompt": "a cat"},\n{"prompt": "b"}]', None, ["a cat", "b"]),
        (b"[a cat:b:0.5]\n", None, ["[a cat:b:0.5]"]),
        (b'["a cat"]', "txt", ['["a cat"]']),
        (b"x,prompt\n1,a\n", "csv", ["a"]),
        (gzip.compress(b"a\n", mtime=0), None, ["a"]),
    ],
)
def test_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes, format: str | None, wanted: list[str]):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    found = read(["-"], format=format)
    assert asked(found) == wanted
    assert {r.source for r in found.items} == {"-"}
    assert not sys.stdin.closed
    assert refusal("-").startswith("'-': holds no prompts")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.jsonl", '{"prompt": "a"}\n\n{"prompt": \n', "line 3|broken JSON|Expecting value|correct"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": null}', "line 2|prompt is empty|remove the row"),
        ("p.jsonl", '{"prompt": 5}', "line 1|prompt is 5|not text"),
        ("p.jsonl", '{"prompt": "\\ud800"}', "line 1|surrogate|correct"),
        ("p.jsonl", '{"prompt": "a", "m": [{"\\udfff": 1}]}', "line 1|surrogate"),
        ("p.jsonl", '{"prompt": "a\\u0000"}', "line 1|NUL|remove"),
        ("p.jsonl", '{"prompt": "a", "m": NaN}', "line 1|finite"),
        ("p.jsonl", '{"prompt": "a", "m": 1e999}', "line 1|finite|correct"),
        ("p.jsonl", '{"prompt": "a", "m": ' + "9" * 5000 + "}", "line 1|digits"),
        ("p.jsonl", '{"prompt": "a", "prompt": "b"}', "line 1|twice|'prompt'"),
        ("p.jsonl", "\n" + "[" * 100_000, "line 2|recursion|JSON"),
        ("p.jsonl", "null", "line 1|object|null"),
        ("p.jsonl", '{"url": "http://x/a.png"}', "line 1|no prompt|'url'|--prompt-column"),
        ("p.jsonl", '{"image": "gone.png"}', "line 1|gone.png|no image file|correct the path"),
        ("p.jsonl", '{"image": "a\\u0000.png"}', "line 1|image|NUL"),
        ("p.jsonl", '{"image": {"bytes": ""}}', "line 1|image|not text"),
        ("p.jsonl", '{"image": "/dev/null"}', "line 1|/dev/null|no image file"),
        ("p.jsonl", '{"id": true, "prompt": "a"}', "line 1|id is True"),
        ("p.jsonl", '{"id": 1, "prompt": "a"}\n{"id": "1", "prompt": "b"}', "line 2|'1'|line 1|own id"),
        ("p.json", '{"prompt": "a"}', "p.json|list|--prompts-format jsonl"),
        ("p.json", '["a"]\n["b"]', "line 2|broken JSON|Extra data"),
        ("p.json", '["a",\n{"prompt": ""}\n]', "line 2|empty"),
        ("p.json", '["a", null]', "line 1|object|null"),
        ("p.json", '["a",\n\n"\\ud800"]', "line 3|surrogate"),
        ("p.json", "[]", "no prompts"),
        ("p.json", "[" * 100_000, "recursion|JSON"),
        ("p.csv", "id,prompt\n1,a\n2,\n", "line 3|prompt is empty"),
        ("p.csv", "id,prompt\n1,a cat, a dog\n", "line 2|3 cells|header of 2|quotes"),
        ("p.csv", 'id,prompt\n1,a\n2,"open\nb\n', "line 3|broken table|quote"),
        ("p.csv", "id,prompt\n1," + "b" * (2**20 + 1), "line 2|1,048,577 characters"),
        ("p.csv", "id,prompt\n1," + "b" * 2**24 + "b", "line 2|larger"),
        ("p.csv", "prompt,prompt\na,b\n", "line 2|twice"),
        ("p.csv", "a cat\na dog\n", "line 2|no prompt|'a cat'|--prompt-column"),
        ("p.csv", "id,prompt\n1,a\0b\n", "line 2|NUL"),
        ("p.csv", "id,prompt\n", "no prompts|add some"),
        ("p.txt", "a\nb\0\n", "line 2|NUL"),
        ("p.txt", "\n \n", "no prompts|2 blank lines"),
        ("p.txt", "a\n" + "b" * (2**20 + 1), "line 2|1,048,577|1,048,576|shorten"),
        ("p.txt", b"\xef\xbb\xbfa\r\nb\rc\xff", "line 3|byte offset 9|UTF-8|save"),
        ("p.txt", "a".encode("utf-32"), "line 1|byte offset 0|save the file as UTF-8"),
        ("p.txt.gz", gzip.compress(b"a" * 9999, mtime=0)[:-9], "cannot be read|check the file"),
        ("p.md", "a", "'.md'|txt jsonl json csv tsv parquet|--prompts-format"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, content: str | bytes, words: str):
    message = refusal(put(tmp_path, name, content))
    assert str(tmp_path / name) in message
    assert all(word in message for word in words.split("|")), message


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ('["a cat",\n"a dog"]', "json"),
        ('{"prompt": "a cat"}', "jsonl"),
        ('{"prompt": "a cat"}\n\n{"prompt": "a dog"}\n', "jsonl"),
        ('["a", 1]\n["b", 2]\n', "jsonl"),
        ("prompt,kind\na cat,scene\n", "csv"),
        ("id\tText\n1\ta cat\n", "tsv"),
        ("file_name;caption\na.png;a cat\n", "csv"),
    ],
)
def test_json_and_tables_are_not_taken_for_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text, format):
    path = put(tmp_path, "p.txt", text)
    assert (
        refusal(path)
        == f"'{path}': looks like {format}, not like a prompt a line; say --prompts-format {format} or txt"
    )
    assert len(read([path], format="txt").items) > 0
    if "tsv" in format or "csv" in format:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert f"'-': looks like {format}" in refusal("-")


@pytest.mark.parametrize(
    "line", ["[cat:dog:0.5], oil", "{red|blue} cat", "a cat, text, sign", "text", "prompt of a cat"]
)
def test_prompts_that_begin_like_json_or_a_table_stay_prompts(tmp_path: Path, line: str):
    assert asked(read([put(tmp_path, "p.txt", f"{line}\na dog\n")])) == [line, "a dog"]


HIDDEN = {
    "\ufeff": "U+FEFF ZERO WIDTH NO-BREAK SPACE",
    "\u200b": "U+200B ZERO WIDTH SPACE",
    "\u3164": "U+3164 HANGUL FILLER",
    "\u2800": "U+2800 BRAILLE PATTERN BLANK",
    "\u034f": "U+034F COMBINING GRAPHEME JOINER",
    "\u2028": "U+2028 LINE SEPARATOR",
    "\u2029": "U+2029 PARAGRAPH SEPARATOR",
    "\u202e": "U+202E RIGHT-TO-LEFT OVERRIDE",
    "\u00ad": "U+00AD SOFT HYPHEN",
    "\x85": "U+0085 a control character",
    "\x0c": "U+000C a control character",
}


@pytest.mark.parametrize("sign", HIDDEN)
@pytest.mark.parametrize("name", ["p.txt", "p.jsonl"])
def test_signs_that_nobody_sees_are_refused(tmp_path: Path, sign: str, name: str):
    text = f"a{sign}cat"
    rows = f"a dog\n{text}\n" if name == "p.txt" else f'"a dog"\n{json.dumps(text)}\n'
    message = refusal(put(tmp_path, name, rows))
    assert f"line 2: the prompt holds {HIDDEN[sign]}, which nobody sees but the model; remove it" in message


def test_signs_that_words_and_emoji_need_are_kept(tmp_path: Path):
    texts = [
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\U0001f469\u200d\U0001f680",
        "\u2764\ufe0f",
        "\u0601\u0661",
    ]
    assert asked(read([put(tmp_path, "p.txt", "\n".join(texts))])) == texts


def test_what_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "empty").mkdir()
    put(tmp_path, "p.txt", "a")
    assert "- for stdin" in refusal()
    for source, words in {
        "": "no such file",
        "a" * 5000: "too long",
        tmp_path / "gone.png": "no such file",
        tmp_path / "empty": "prompt files singly",
        tmp_path: "prompt files singly",
        f"{tmp_path}/*.jsonl": "pattern",
        f"{tmp_path}/e*": "pattern",
        f"{tmp_path}/**.txt": "pattern",
    }.items():
        assert all(word in refusal(source) for word in words.split("|")), source
    assert "yaml" in refusal(tmp_path / "p.txt", format="yaml")
    assert "\\n" in refusal(tmp_path / "a\nb.txt")
    monkeypatch.setattr(prompts, "MAX_BYTES", 100)
    assert "100 bytes" in refusal(put(tmp_path, "big.txt.gz", gzip.compress(b"a\n" * 1000, mtime=0)))
    (tmp_path / "dead").mkdir()
    (tmp_path / "dead" / "link.png").symlink_to(tmp_path / "gone.png")
    assert "link.png" in refusal(tmp_path / "dead")
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/\xff.txt"))
    odd.write_text("a")
    assert "rename" in refusal(odd)


def test_a_missing_column_lists_those_that_exist(tmp_path: Path):
    for path in (put(tmp_path, "p.csv", "de,id\na,1\n"), put(tmp_path, "p.jsonl", '{"de": "a", "image": "x.png"}')):
        assert all(word in refusal(path, column="fr") for word in (str(path), "'fr'", "'de'", "--prompt-column"))
    assert asked(read([put(tmp_path, "p.txt", "a")], column="fr")) == ["a"]


def test_other_texts_in_further_columns_of_prompts_are_counted(tmp_path: Path):
    rows = [
        {"prompt": "a", "caption": "b"},
        {"prompt": "c", "TEXT": "c"},
        {"prompt": "d", "caption": " "},
        {"Prompt": "e"},
    ]
    path = put(tmp_path, "p.jsonl", "\n".join(map(json.dumps, rows)))
    assert (asked(read([path])), read([path]).further) == (["a", "c", "d", "e"], 1)
    assert read([put(tmp_path, "q.csv", "prompt,caption\na,b\n")], column="caption").further == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("suffix", "text"), AB.items())
def test_encodings_with_a_byte_order_mark_and_all_ends_of_lines(tmp_path: Path, suffix, text, end, encoding):
    mark = "\ufeff" if encoding.startswith("utf-16") else ""
    shown = text.replace('"b"', '"\u00e9"').replace("\nb", "\n\u00e9")
    data = (mark + shown.replace("\n", end)).encode(encoding)
    assert asked(read([put(tmp_path, f"p.{suffix}", data)])) == ["a", "\u00e9"]


def test_ids_are_unique_over_prompts_and_images(tmp_path: Path):
    image = put(tmp_path, "a.png", b"A")
    name = hashlib.sha256(b"A").hexdigest()[:16]
    rows = put(tmp_path, "p.jsonl", json.dumps({"id": name, "prompt": "a"}))
    assert all(word in refusal(image, rows) for word in (str(image), str(rows), "line 1", name))
    copy = put(tmp_path, "b.png", b"A")
    assert (len(read([image, copy]).items), read([image, copy]).repeated) == (1, 1)


@pytest.mark.parametrize(
    "text",
    [
        '{"prompt":"a"}\n{"prompt":"b"\n',
        '{"prompt":"a"},\n{"prompt":"b"},\n',
        '[\n "a",\n]\n',
        "{'prompt': 'a'}\n",
        '# x\n{"prompt":"a"}\n',
        "['a cat', 'a dog']\n",
        '"id","prompt"\n1,"a cat"\n',
        "id, prompt\n1, a cat\n",
        "id,prompt,negative prompt\n1,a,b\n",
        "sep=;\nid;prompt\n1;a\n",
        "# a list\nid,prompt\n1,a\n",
    ],
)
def test_broken_json_and_headers_are_no_prompts(tmp_path: Path, text: str):
    assert "--prompts-format" in refusal(put(tmp_path, "p.txt", text))
    assert len(read([put(tmp_path, "q.txt", text)], format="txt").items) > 0


def test_tags_with_blanks_stay_prompts(tmp_path: Path):
    lines = ["1girl, solo, text", "[cat:dog:0.5]", "{red|blue} car", "a poster, file, path"]
    assert asked(read([put(tmp_path, "p.txt", "\n".join(lines))])) == lines
