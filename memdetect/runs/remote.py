"""Object storage: an address s3://BUCKET/RUN, and what is read from and written to it, through obstore."""

import os
import re
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from memdetect.errors import Exit, MemdetectError
from memdetect.files import LARGEST, open_regular, written

SCHEME = "s3:"
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+@-]*")  # of an address, and of the name of an object
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
CODE = re.compile(r"<Code>(\w{1,60})</Code>")
REFUSED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
AT_ONCE = 8  # requests
PIECE, PIECES = 2**23, 4  # bytes of a large object that go or come as one request, and how many of them go at once
RETRIES, PATIENCE = 3, timedelta(seconds=30)  # of a request that fails
ANOTHER = "was replaced while it was read; run the same command again"

Item = TypeVar("Item")


def is_remote(path: Path) -> bool:
    """Whether a path is an address of object storage; `Path` makes s3:/bucket/run of s3://bucket/run."""
    return path.parts[:1] == (SCHEME,)


def url_of(path: Path) -> str:
    """An address as people write it."""
    return f"s3://{'/'.join(path.parts[1:])}"


@dataclass(frozen=True)
class Store:
    """The objects below an address. Raises MemdetectError in one line, and never shows a secret.

    Credentials, region and endpoint are read from the environment, as AWS names them.
    """

    bucket: str
    prefix: str

    @classmethod
    def at(cls, path: Path) -> "Store":
        """The store of an address; MemdetectError (usage) for one without bucket and key, or with signs in it."""
        _, *parts = path.parts
        if len(parts) < 2 or not all(PART.fullmatch(part) for part in parts):
            raise MemdetectError(
                f"{url_of(path)!r} is no address of a run; write s3://BUCKET/RUN, of letters, digits and ._=+@-"
            )
        return cls(parts[0], "/".join(parts[1:]))

    @property
    def url(self) -> str:
        """The address as people write it."""
        return f"s3://{self.bucket}/{self.prefix}"

    @property
    def mirror(self) -> Path:
        """The part of a path that no other address has, at whatever endpoint."""
        return Path(sha256(_endpoint().encode()).hexdigest()[:8], self.bucket, self.prefix)

    def create(self, name: str, data: bytes) -> bool:
        """Write an object that is not there yet; False, and nothing changed, if it is. Of several writers one is first.

        A writer whose answer got lost finds its own object there.
        """
        with self._told() as library:
            try:
                library.put(self._store, name, data, mode="create", use_multipart=False)
            except library.exceptions.AlreadyExistsError:
                return self.get(name) == data
        return True

    def put(self, name: str, data: bytes) -> None:
        """Write an object, whatever is there."""
        with self._told() as library:
            library.put(self._store, name, data)

    def send(self, name: str, path: Path) -> None:
        """Write an object of a file, whatever is there; a large one goes in pieces, and is never held as a whole."""
        with open_regular(path) as file, self._told() as library:
            library.put(self._store, name, file, chunk_size=PIECE, max_concurrency=PIECES)

    def get(self, name: str) -> bytes | None:
        """The bytes of an object that is small; None where there is none."""
        if (found := self._found(name)) is None:
            return None
        if (size := found.meta["size"]) > LARGEST:
            raise MemdetectError(f"{self.url}/{name} is {size:,} bytes, more than {LARGEST:,}; no run has such")
        return self._bytes(found)

    def fetch(self, name: str, path: Path) -> bool:
        """Make a file of an object, whatever is there; False where there is none.

        A large one comes in pieces, and is never held as a whole. The file is there once all of it is.
        """
        if (found := self._found(name)) is None:
            return False
        size, tag = found.meta["size"], found.meta["e_tag"]
        path.parent.mkdir(parents=True, exist_ok=True)
        with written(path) as temporary, temporary.open("wb") as file:
            if size <= PIECE:
                file.write(self._bytes(found))
            else:
                del found  # its body is not read, and would be waited for
                for start in range(0, size, PIECE):
                    file.write(self._piece(name, start, min(start + PIECE, size), tag))
            file.flush()
            os.fsync(file.fileno())
        return True

    def _piece(self, name: str, start: int, stop: int, tag: str | None) -> bytes:
        """Bytes of an object as it was when it was asked for first."""
        found = self._found(name, range=(start, stop), if_match=tag)
        if found is None:
            raise MemdetectError(f"{self.url}/{name} {ANOTHER}", Exit.ERROR)
        return self._bytes(found)

    def _found(self, name: str, **options: Any) -> Any:
        """What the server says of an object, of which no byte is read yet; None where there is none."""
        with self._told() as library:
            try:
                return library.get(self._store, name, options=options)
            except FileNotFoundError as problem:
                if "NoSuchBucket" in str(problem):
                    raise
                return None

    def _bytes(self, found: Any) -> bytes:
        with self._told():
            return bytes(found.bytes())

    def tag(self, name: str) -> str | None:
        """What tells one content of an object from another; None where there is none."""
        with self._told() as library:
            try:
                return str(library.head(self._store, name)["e_tag"])
            except FileNotFoundError:
                return None

    def has(self, name: str) -> bool:
        """Whether there is an object of this name."""
        return self.tag(name) is not None

    def tags(self, folder: str) -> dict[str, str]:
        """The names below a folder, with what tells one content of each from another. Odd names are left out."""
        with self._told() as library:
            pages: Iterable[Any] = library.list(self._store, folder, chunk_size=1000)
            found = {str(each["path"]): str(each["e_tag"]) for page in pages for each in page}
        return {name: tag for name, tag in found.items() if all(PART.fullmatch(part) for part in name.split("/"))}

    @cached_property
    def _store(self) -> Any:
        options = {"timeout": "60s", "connect_timeout": "10s", "allow_http": _endpoint().startswith("http://")}
        retry = {"max_retries": RETRIES, "retry_timeout": PATIENCE}
        return _library().store.S3Store(self.bucket, prefix=self.prefix, client_options=options, retry_config=retry)

    @contextmanager
    def _told(self) -> Generator[Any]:
        """The library; what it raises in the body is told in one line."""
        library = _library()
        try:
            yield library
        except (library.exceptions.BaseError, ValueError, OSError) as problem:
            raise self._error(problem, library) from None

    def _error(self, problem: Exception, library: Any) -> MemdetectError:
        """One line of what the server called its reason; its own words may hold what nobody should read."""
        refused = (library.exceptions.PermissionDeniedError, library.exceptions.UnauthenticatedError)
        found = CODE.search(str(problem))
        code = f" ({found[1]})" if found else ""
        if isinstance(problem, FileNotFoundError) or (found and found[1] == "NoSuchBucket"):
            return MemdetectError(f"{self.url}: there is no bucket {self.bucket!r}; make it, or correct the address")
        if isinstance(problem, refused) or (found and found[1] in REFUSED):
            return MemdetectError(f"{self.url}: access is refused{code}; check the credentials")
        if isinstance(problem, library.exceptions.PreconditionError):
            return MemdetectError(f"an object of {self.url} {ANOTHER}", Exit.ERROR)
        return MemdetectError(
            f"{self.url} cannot be reached{code}; check AWS_ENDPOINT_URL, AWS_REGION and the credentials, and run the "
            "same command again",
            Exit.ERROR,
        )


def at_once(work: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Do something to each of some items, several at a time; raises what the first one raises."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(work, items):
            pass


def _endpoint() -> str:
    return next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")


def _library() -> Any:
    try:
        return import_module("obstore")
    except ImportError:
        raise MemdetectError(
            "an address s3:// needs obstore, which is not installed; pip install memdetect[cloud]"
        ) from None
