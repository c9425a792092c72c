"""Prompt files as people and programs write them, made by code, each with the prompts that a person sees in them."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow
from pyarrow import parquet

PROMPTS = ("a red dog", 'a sign that says "Hi", in chalk', "caf\u00e9; two bears\ton top", "\u732b | 5|6")


@dataclass(frozen=True)
class Written:
    """A file: which row of the page tells of it, its name and bytes, and its prompts, or what refuses it.

    further: rows with a second text that was not scanned. beside: rows with a picture beside the prompt.
    """

    row: str
    name: str
    data: bytes
    prompts: Sequence[str] = PROMPTS
    refused: str = ""
    column: str | None = None
    further: int = 0
    beside: int = 0


def lines(end: str = "\n", mark: str = "") -> str:
    return mark + end.join(PROMPTS) + end


def table(head: Sequence[str] = ("id", "prompt"), end: str = "\r\n", **dialect: Any) -> str:
    text = io.StringIO(newline="")
    made = csv.writer(text, lineterminator=end, **dialect)
    made.writerow(head)
    made.writerows((f"n{number}", prompt) for number, prompt in enumerate(PROMPTS))
    return text.getvalue()


def jsonl(key: str = "prompt", **more: Any) -> str:
    return "".join(json.dumps({key: prompt, **more}, ensure_ascii=False) + "\n" for prompt in PROMPTS)


def columns(**held: Sequence[Any]) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(dict(held)), sink)
    return sink.getvalue()


def utf8(text: str) -> bytes:
    return text.encode()


TXT, JSONL, JSON, CSV, TSV = (partial(Written, f"`.{name}`") for name in ("txt", "jsonl", "json", "csv", "tsv"))
PARQUET, GZIP, OTHER = (partial(Written, row) for row in ("`.parquet`", "any of these as `.gz`", "UTF-16"))
PLAIN = tuple(prompt for prompt in PROMPTS if "\t" not in prompt)
KOHYA = "a dog --n low quality --w 512 --h 512 --d 1 --l 7.5 --s 28\n"
PARTI = 'Prompt\tCategory\tChallenge\tNote\n"Hello" in chalk\tWords\tWriting\t\n"a dog, red\tAnimals\tBasic\tx\n'

WRITTEN: dict[str, Written] = {
    "lines": TXT("p.txt", utf8(lines())),
    "lines of another system": TXT("p.txt", utf8(lines("\r\n"))),
    "lines of an old system": TXT("p.txt", utf8(lines("\r"))),
    "lines with a byte order mark": TXT("p.txt", utf8(lines(mark="\ufeff"))),
    "a table called txt": TXT("p.txt", utf8(table()), refused="looks like csv, not like a prompt a line"),
    "json called txt": TXT("p.txt", utf8(jsonl()), refused="looks like jsonl, not like a prompt a line"),
    "kohya's sample prompts": TXT("p.txt", utf8(KOHYA), refused="holds settings of sample prompts .*; take them out"),
    "tags, weights and choices": TXT(
        "p.txt", utf8("1girl, (solo:1.2)\n{a|b} --ar 16:9\n"), ("1girl, (solo:1.2)", "{a|b} --ar 16:9")
    ),
    "a list of memorized prompts": JSONL("p.jsonl", utf8(jsonl("caption", url="http://x/a.jpg"))),
    "texts": JSONL("p.jsonl", utf8("".join(json.dumps(prompt) + "\n" for prompt in PROMPTS))),
    "img2dataset's input": JSONL("p.jsonl", utf8(jsonl("TEXT", URL="http://x/a.jpg"))),
    "metadata of pictures": JSONL("metadata.jsonl", utf8(jsonl("text", file_name="a.png")), beside=len(PROMPTS)),
    "two columns of prompts": JSONL("p.jsonl", utf8(jsonl(caption="another")), further=len(PROMPTS)),
    "two columns, one named": JSONL("p.jsonl", utf8(jsonl("de", caption="another")), column="de"),
    "names twice": JSONL("p.jsonl", b'{"prompt": "a", "prompt": "b"}\n', refused="line 1: a name is there twice"),
    "a number that is none": JSONL("p.jsonl", b'{"prompt": "a", "n": NaN}\n', refused="line 1: .*not finite"),
    "a list of texts": JSON("p.json", utf8(json.dumps(PROMPTS))),
    "a list of objects": JSON("p.json", utf8(json.dumps([{"prompt": text, "tag": "x"} for text in PROMPTS], indent=2))),
    "objects by id": JSON("p.json", b'{"a1": {"prompt": "a dog"}}', refused="a JSON list is expected"),
    "captions of COCO": JSON("p.json", b'{"annotations": [{"caption": "a dog"}]}', refused="a JSON list is expected"),
    "as RFC 4180 has it": CSV("p.csv", utf8(table())),
    "quoted everywhere": CSV("p.csv", utf8(table(quoting=csv.QUOTE_ALL))),
    "with semicolons": CSV("p.csv", utf8(table(delimiter=";"))),
    "with bars": CSV("p.csv", utf8(table(delimiter="|"))),
    "of a spreadsheet": CSV("p.csv", utf8("\ufeff" + table())),
    "of a spreadsheet that names its delimiter": CSV("p.csv", utf8("sep=;\r\n" + table(delimiter=";"))),
    "with \\r alone": CSV("p.csv", utf8(table(end="\r"))),
    "with \\n alone": CSV("p.csv", utf8(table(end="\n"))),
    "of memorized prompts": CSV("p.csv", utf8(table(("URL", "Caption"), delimiter=";"))),
    "of another column": CSV(
        "p.csv", utf8(table(("Category", "Prompts"))), refused="no prompt among .*--prompt-column"
    ),
    "of another column that is named": CSV("p.csv", utf8(table(("Category", "Prompts"))), column="Prompts"),
    "quoted by backslashes": CSV(
        "p.csv", utf8(table(quoting=csv.QUOTE_ALL, doublequote=False, escapechar="\\")), refused="line 3: broken table"
    ),
    "with commas and no quotation marks": CSV(
        "p.csv", b"id,prompt\n1,a cat, a dog\n", refused="3 cells under a header of 2"
    ),
    "PartiPrompts": TSV("p.tsv", utf8(PARTI), ('"Hello" in chalk', '"a dog, red')),
    "with tabs": TSV("p.tsv", utf8(table(delimiter="\t"))),
    "with tabs and nothing quoted": TSV(
        "p.tsv", utf8("n\tprompt\n" + "".join(f"1\t{text}\n" for text in PLAIN)), PLAIN
    ),
    "columns": PARQUET("p.parquet", columns(prompt=PROMPTS, seed=range(4), image=[b"x"] * 4)),
    "LAION's": PARQUET("p.parquet", columns(URL=["http://x/a.jpg"] * 4, TEXT=PROMPTS, NSFW=[None, 0.5, 0.1, 1.0])),
    "not parquet": PARQUET("p.parquet", b"PAR1 and no more", refused="p.parquet'"),
    "a gzipped list": GZIP("p.jsonl.gz", gzip.compress(utf8(jsonl()), mtime=0)),
    "a gzipped table": GZIP("p.csv.gz", gzip.compress(utf8(table()), mtime=0)),
    "half a gzipped list": GZIP("p.txt.gz", gzip.compress(utf8(lines()) * 99, mtime=0)[:-20], refused="cannot be read"),
    "unicode text of a spreadsheet": OTHER("p.txt", table(delimiter="\t").encode("utf-16"), refused="looks like tsv"),
    "unicode text of a spreadsheet, renamed": OTHER("p.tsv", table(delimiter="\t").encode("utf-16")),
    "unicode of an editor": OTHER("p.txt", lines("\r\n").encode("utf-16")),
    "big-endian": OTHER("p.csv", ("\ufeff" + table()).encode("utf-16-be")),
    "without its mark": OTHER("p.csv", table().encode("utf-16-le"), refused="NUL|UTF-8|no prompt"),
    "cp1252": OTHER(
        "p.csv", "prompt\r\na dog\r\ncaf\u00e9\r\n".encode("cp1252"), refused="line 3: not UTF-8 .*; save the file"
    ),
    "latin-1": OTHER(
        "p.txt", "a dog\ncaf\u00e9\n".encode("latin-1"), refused="line 2: not UTF-8 .*; save the file as UTF-8"
    ),
    "utf-32": OTHER("p.txt", lines().encode("utf-32"), refused="not UTF-8"),
}
