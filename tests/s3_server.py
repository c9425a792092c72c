"""A small server of the S3 protocol on the loopback: one account, objects in memory, a listing in pages.

Objects come whole or in parts, and are read whole or in ranges.
"""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

KEY, SECRET = "AKIATESTTESTTEST0000", "secret-of-the-tests-which-nobody-may-see"
PAGE = 7  # names


@dataclass
class Account:
    """What a server holds. asked: each request, as `METHOD bucket/key`; drop: how many answers to a PUT get lost.

    parts: by the number of an upload that is not complete, what has come of it. largest: bytes of a body that came.
    """

    address: str = ""
    buckets: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"bucket": {}})
    asked: list[str] = field(default_factory=list)
    drop: int = 0
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    uploads: int = 0
    largest: int = 0
    lock: Any = field(default_factory=threading.Lock)

    @property
    def env(self) -> dict[str, str]:
        """What a client is told by its environment."""
        keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
        return {**keys, "AWS_ENDPOINT_URL": self.address}


class Handler(BaseHTTPRequestHandler):
    """Objects are read, written, created if they are not there, looked for and listed."""

    account: Account
    protocol_version = "HTTP/1.1"

    def log_message(self, *given: Any) -> None:
        pass

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            try:
                self.wfile.write(body)
            except ConnectionError:  # of who wanted the headers alone
                self.close_connection = True

    def refuse(self, status: int, code: str) -> None:
        self.say(status, f"<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>".encode())

    def bucket(self) -> tuple[dict[str, bytes] | None, str, dict[str, list[str]]]:
        """The bucket that is asked for, the key, and the question; None where it was refused."""
        asked = urlsplit(self.path)
        name, _, key = unquote(asked.path).lstrip("/").partition("/")
        self.account.asked.append(f"{self.command} {name}/{key}")
        found = self.account.buckets.get(name)
        if f"Credential={KEY}/" not in self.headers.get("Authorization", ""):
            self.refuse(403, "InvalidAccessKeyId")
            found = None
        elif found is None:
            self.refuse(404, "NoSuchBucket")
        return found, key, parse_qs(asked.query, keep_blank_values=True)

    def body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.account.largest = max(self.account.largest, len(data))
        return data

    def do_PUT(self) -> None:
        data = self.body()
        held, key, asked = self.bucket()
        if held is None:
            return
        if "uploadId" in asked:
            self.part(asked["uploadId"][0], int(asked["partNumber"][0]), data)
            return
        with self.account.lock:
            there = key in held and self.headers.get("If-None-Match") == "*"
            if not there:
                held[key] = data
            lost, self.account.drop = self.account.drop > 0, max(0, self.account.drop - 1)
        if lost:
            self.close_connection = True
        elif there:
            self.refuse(412, "PreconditionFailed")
        else:
            self.say(200, ETag=tag(data))

    def part(self, upload: str, number: int, data: bytes) -> None:
        """Take a part of an object; all but the last have 5 MiB, which is for the client to know."""
        with self.account.lock:
            there = self.account.parts.get(upload)
            if there is not None:
                there[number] = data
        if there is None:
            self.refuse(404, "NoSuchUpload")
        else:
            self.say(200, ETag=tag(data))

    def do_POST(self) -> None:
        """Begin an upload in parts, or complete it: the object is there from then on, and not before."""
        text = self.body().decode()
        held, key, asked = self.bucket()
        if held is None:
            return
        with self.account.lock:
            if "uploads" in asked:
                self.account.uploads += 1
                upload = f"upload-{self.account.uploads}"
                self.account.parts[upload] = {}
            else:
                upload = asked["uploadId"][0]
                parts = self.account.parts.pop(upload)
                named = [int(number) for number in re.findall(r"<PartNumber>(\d+)</PartNumber>", text)]
                assert named == sorted(parts), "the parts that came are those that are named, in their order"
                held[key] = b"".join(parts[number] for number in named)
        told = f"<Key>{escape(key)}</Key>"
        if "uploads" in asked:
            name, told = "Initiate", f"{told}<UploadId>{upload}</UploadId>"
        else:
            name, told = "Complete", f"{told}<ETag>{escape(tag(held[key]))}</ETag>"
        name = f"{name}MultipartUploadResult"
        bucket = f"<Bucket>{escape(urlsplit(self.path).path.split('/')[1])}</Bucket>"
        self.say(200, f"<{name}>{bucket}{told}</{name}>".encode(), Content_Type="application/xml")

    def do_DELETE(self) -> None:
        """Give up an upload in parts."""
        held, _, asked = self.bucket()
        if held is None:
            return
        self.account.parts.pop(asked["uploadId"][0], None)
        self.say(204)

    def do_GET(self) -> None:
        held, key, asked = self.bucket()
        if held is None:
            return
        if not key:
            self.say(200, listing(held, asked), Content_Type="application/xml")
            return
        data = held.get(key)
        if data is None:
            self.refuse(404, "NoSuchKey")
            return
        if self.headers.get("If-Match") not in (None, tag(data)):
            self.refuse(412, "PreconditionFailed")
            return
        facts = {"ETag": tag(data), "Last_Modified": "Wed, 01 Jan 2025 00:00:00 GMT"}
        if found := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            start, stop = int(found[1]), min(int(found[2]) + 1, len(data))
            said = f"bytes {start}-{stop - 1}/{len(data)}"
            self.say(206, data[start:stop], Content_Range=said, **facts)
        else:
            self.say(200, data, **facts)

    do_HEAD = do_GET


def tag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def listing(held: dict[str, bytes], asked: dict[str, list[str]]) -> bytes:
    """A page of the names with a prefix, after the last one of the page before."""
    prefix, after = asked.get("prefix", [""])[0], asked.get("continuation-token", [""])[0]
    names = [name for name in sorted(held) if name.startswith(prefix) and name > after]
    rows = "".join(
        f"<Contents><Key>{escape(name)}</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>{escape(tag(held[name]))}</ETag><Size>{len(held[name])}</Size></Contents>"
        for name in names[:PAGE]
    )
    more = f"<NextContinuationToken>{escape(names[PAGE - 1])}</NextContinuationToken>" if names[PAGE:] else ""
    cut = str(bool(more)).lower()
    return f"<ListBucketResult><IsTruncated>{cut}</IsTruncated>{more}{rows}</ListBucketResult>".encode()


@contextmanager
def serving() -> Iterator[Account]:
    """A server that answers while the body runs."""
    account = Account()
    handler = type("Own", (Handler,), {"account": account})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        account.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield account
        server.shutdown()
