"""A small server of the S3 protocol on the loopback: one account, objects in memory, a listing in pages."""

import hashlib
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
    """What a server holds. asked: each request, as `METHOD bucket/key`; drop: how many answers to a PUT get lost."""

    address: str = ""
    buckets: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"bucket": {}})
    asked: list[str] = field(default_factory=list)
    drop: int = 0
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
            self.wfile.write(body)

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
        return found, key, parse_qs(asked.query)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        held, key, _ = self.bucket()
        if held is None:
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

    def do_GET(self) -> None:
        held, key, asked = self.bucket()
        if held is None:
            return
        if not key:
            self.say(200, listing(held, asked), Content_Type="application/xml")
        elif key not in held:
            self.refuse(404, "NoSuchKey")
        else:
            last = "Wed, 01 Jan 2025 00:00:00 GMT"
            self.say(200, held[key], ETag=tag(held[key]), Last_Modified=last)

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
