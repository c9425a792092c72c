"""What opening a model of a hub would fetch first, asked of the hub; and how long it may take to answer."""

from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from memdetect.adapters.cards import card_of
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs import bundled
from memdetect.inputs.options import Loading

SECONDS = 10  # how long a hub may take to answer; a scan does not need to know
PATIENCE = 30.0  # seconds without a byte from the hub, where a model is fetched
TRIES = 2  # of one request, after which a hub that does not answer is given up
_BESIDE = (".json", ".txt", ".model")
_NOT_OPENED = ("safety_checker", "feature_extractor", "image_encoder")


@dataclass(frozen=True, slots=True)
class Download:
    """Bytes of a repository's files that loading needs, and how many of them are not in the cache yet."""

    needed: int
    missing: int

    def __str__(self) -> str:
        """For a person, in GB."""
        return f"{self.needed / 1e9:.2f} GB on disk, {self.missing / 1e9:.2f} GB of it to be downloaded"


def download_of(name: str, loading: Loading | None = None) -> Download | None:
    """What loading a hub id would fetch; None for what is on this machine, offline, and when the hub does not say.

    Counted are the .safetensors files of each network (those of the variant where there are some) and the small files
    beside them. Never raises for the hub's sake.
    """
    loading = loading or Loading()
    card = card_of(name)
    here = Path(name).exists() or bundled.model_folder(name) is not None
    place = card.repo or ("" if here or name.count("/") != 1 else name)
    if not place or loading.offline:
        return None
    sizes = _sizes(place, loading.revision)
    wanted = {file: size for file, size in sizes.items() if _is_opened(file, sizes, loading.variant)}
    if not wanted:
        return None
    missing = sum(size for file, size in wanted.items() if not _cached(place, file, loading.revision))
    return Download(sum(wanted.values()), missing)


# In what a hub's client, and diffusers, say of files that are not here and cannot be fetched.
_ABSENT = ("local_files_only", "fully cached locally", "outgoing traffic", "cannot find the requested files")


@contextmanager
def patient(place: Path | str) -> Generator[None]:
    """Give each request to the hub `PATIENCE` while the body runs; its own client waits without an end for some.

    Raises MemdetectError (error) where a hub id cannot be fetched for that.
    """
    if isinstance(place, Path):
        yield
        return
    from huggingface_hub import constants, get_session

    client: Any = get_session()
    before: Any = getattr(client, "event_hooks", None)
    if before is not None:
        client.event_hooks = {**before, "request": [*before["request"], _Limit()]}
    try:
        yield
    except Exception as problem:
        if not any("Timeout" in type(each).__name__ for each in _causes(problem)):
            raise
        said = f"the hub at {constants.ENDPOINT} did not answer within {PATIENCE:g} s"
        cure = "run the same command again, or with --offline if the model was fetched before"
        raise MemdetectError(f"model {place!r} could not be fetched: {said}; {cure}", Exit.ERROR) from None
    finally:
        if before is not None:
            client.event_hooks = before


def _causes(problem: BaseException | None) -> Iterator[BaseException]:
    """An exception, and those that it was raised for."""
    while problem is not None:
        yield problem
        problem = problem.__cause__ or problem.__context__


def not_fetched(loading: Loading, problem: BaseException) -> str:
    """Why a model of a hub is not here, and what to do, if that is what a library said; its advice names no option."""
    from huggingface_hub import constants

    if not any(words in str(problem) for words in _ABSENT):
        return ""
    forbids = "--offline" if loading.offline else "HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else ""
    if forbids:
        return f"it is not whole on this machine, and {forbids} forbids to fetch it; fetch it once without {forbids}"
    return f"it is not whole on this machine, and the hub at {constants.ENDPOINT} cannot be reached; check the network"


class _Limit:
    """Limits the time of each request, and ends what is asked again and again without an answer."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()

    def __call__(self, request: Any) -> None:
        own = request.extensions.get("timeout") or {}
        kinds = ("connect", "read", "write", "pool")
        request.extensions["timeout"] = {kind: min(own.get(kind) or PATIENCE, PATIENCE) for kind in kinds}
        self.asked[key := (request.method, str(request.url))] += 1
        if self.asked[key] > TRIES:
            raise TimeoutError(f"{request.url} was asked for {TRIES} times")


def _sizes(place: str, revision: str | None) -> dict[str, int]:
    """Bytes of each file of a repository; {} when the hub cannot be reached or refuses."""
    from huggingface_hub import HfApi

    try:
        found: Any = HfApi().model_info(place, revision=revision, files_metadata=True, timeout=SECONDS)
    except Exception:  # no net, no such repository, gated: of several libraries, and no reason not to load what is here
        return {}
    return {file.rfilename: int(file.size or 0) for file in found.siblings or ()}


def _is_opened(file: str, sizes: Mapping[str, int], variant: str | None) -> bool:
    path = PurePosixPath(file)
    if file == "model_index.json":
        return True
    if len(path.parts) != 2 or path.parts[0] in _NOT_OPENED:
        return False
    if path.suffix != ".safetensors":
        return path.suffix in _BESIDE
    has = variant and any(str(PurePosixPath(f).parent) == path.parts[0] and _of(f, variant) for f in sizes)
    return (
        _of(file, variant)
        if variant and has
        else path.name.split("-0000")[0].removesuffix(".safetensors").count(".") == 0
    )


def _of(file: str, variant: str) -> bool:
    return file.endswith(".safetensors") and f".{variant}" in PurePosixPath(file).name


def _cached(place: str, file: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(place, file, revision=revision), str)
