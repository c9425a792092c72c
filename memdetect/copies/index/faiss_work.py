"""All that FAISS does for an index. Run as a script, it does so for another process (`faiss_process`).

It must import numpy and FAISS alone: on macOS torch and FAISS bring two OpenMP runtimes that clash in one process.
"""

import json
import mmap
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

# (queries, k) -> rows, -1 = none, in any order; of codes [2, query, rank]: bits that differ, and rows, nearest first
Candidates = Callable[[NDArray[Any], int], NDArray[np.int64]]
BLOCK = 2**15  # rows at once
FEW = 4  # queries for which FAISS's plain loops beat a matrix product
PER_LIST = 64  # training vectors; FAISS warns below 39
IN_MEMORY = 2**22  # rows of which the codes are in memory while an index is filled
SPARE = 4  # codes of each query beyond the images asked for
DEEPER = (1, 8, 64)  # times as many codes, where the nearest are of too few images
IMAGES = 2**12  # images at once whose codes are all compared
FAR = np.iinfo(np.int64).max


class Refusal(Exception):
    """What is wrong with a file, in one line."""


def mapped(path: str, count: int, dim: int) -> NDArray[np.float16]:
    """The vectors of a file, [image dim], read as they are asked for."""
    return np.memmap(path, np.float16, "r", shape=(count, dim))


def blocks(vectors: NDArray[np.float16], size: int = BLOCK) -> Iterator[NDArray[np.float32]]:
    """Rows as float32, `size` at a time."""
    for start in range(0, len(vectors), size):
        yield vectors[start : start + size].astype(np.float32)


def write(vectors: str, count: int, dim: int, factory: str, target: str, at_once: int = IN_MEMORY) -> None:
    """Train an IVF index on up to PER_LIST vectors a list, fill it with all, and write it to the file `target`.

    Of more than `at_once` rows no more are in memory: parts are written beside the target, and their lists are put
    together. The file is the same, to the byte.
    """
    import faiss

    held = mapped(vectors, count, dim)
    index: Any = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    lowest: Any = faiss.extract_index_ivf(index)
    lowest.cp.min_points_per_centroid = 1  # else FAISS warns on stdout
    wanted = min(count, PER_LIST * lowest.nlist)
    chosen = np.sort(np.random.default_rng(0).choice(count, wanted, replace=False))
    index.train(held[chosen].astype(np.float32))
    if count <= at_once or not hasattr(faiss, "OnDiskInvertedLists"):  # which FAISS for Windows lacks
        for block in blocks(held):
            index.add(block)
        faiss.write_index(index, target)
        return
    parts: list[tuple[str, int]] = []
    empty = faiss.serialize_index(index)
    try:
        for start in range(0, count, at_once):
            part: Any = faiss.deserialize_index(empty)
            for block in blocks(held[start : start + at_once]):
                part.add(block)
            parts.append((f"{target}.{start}", start))
            faiss.write_index(part, parts[-1][0])
        lowest.ntotal = index.ntotal = count
        _together(faiss, index, parts, target)
    finally:
        for name, _ in parts:
            Path(name).unlink(missing_ok=True)


def _together(faiss: Any, index: Any, parts: list[tuple[str, int]], target: str) -> None:
    """Write the file of `index`, which is empty, with the lists of the parts' files, each shifted by its first row.

    The lists are the last that FAISS writes: their mark, how many, bytes a code, whether all sizes follow or those of
    lists that are not empty, and then of each list its codes and its rows.
    """
    lowest = faiss.extract_index_ivf(index)
    opened = [(faiss.read_index(name, faiss.IO_FLAG_MMAP), start) for name, start in parts]
    held = [(faiss.extract_index_ivf(part).invlists, start) for part, start in opened]
    sizes = np.array([sum(lists.list_size(i) for lists, _ in held) for i in range(lowest.nlist)], np.uint64)
    whole = np.count_nonzero(sizes) > lowest.nlist // 2
    named = sizes if whole else np.ravel([(i, n) for i, n in enumerate(sizes.tolist()) if n]).astype(np.uint64)
    head = bytes(faiss.serialize_index(index))
    mark = b"ilar" + np.array([lowest.nlist, lowest.code_size], np.uint64).tobytes()
    with Path(target).open("wb") as file:
        file.write(head[: head.rindex(mark)] + mark + (b"full" if whole else b"sprs"))
        file.write(np.uint64(len(named)).tobytes() + named.tobytes())
        for i in range(lowest.nlist):
            own = [(lists, start, lists.list_size(i)) for lists, start in held]
            for lists, _, size in own:
                file.write(faiss.rev_swig_ptr(lists.get_codes(i), size * lowest.code_size).data if size else b"")
            for lists, start, size in own:
                file.write((faiss.rev_swig_ptr(lists.get_ids(i), size) + start).data if size else b"")


def open_flat(vectors: str | NDArray[np.float16], count: int, dim: int) -> Candidates:
    """FAISS's exhaustive search over the vectors (or their file), which it holds as float32. No file is parsed."""
    import faiss

    index: Any = faiss.IndexFlatIP(dim)
    for block in blocks(mapped(vectors, count, dim) if isinstance(vectors, str) else vectors):
        index.add(block)

    def search(queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        # FAISS 1.15 multiplies matrices only from 128,000 numbers of queries on: 250 of 512, up to ten times later than
        # it pays.
        usual = faiss.cvar.distance_compute_blas_threshold
        try:
            if len(queries) >= FEW:
                faiss.cvar.distance_compute_blas_threshold = 1
            return index.search(queries, k)[1]
        finally:
            faiss.cvar.distance_compute_blas_threshold = usual

    return search


def open_file(path: str, count: int, dim: int, nprobe: int) -> Candidates:
    """An index that FAISS wrote, read under limits on what its headers may ask for.

    Raises Refusal for a file that FAISS cannot read, or that holds other vectors.
    """
    import faiss

    limits = {"vector_byte_limit": Path(path).stat().st_size + 2**20, "loop_limit": max(2**20, 4 * count)}
    before = {name: getattr(faiss, f"get_deserialization_{name}", lambda: None)() for name in limits}
    try:
        _limit(faiss, limits)
        index: Any = faiss.read_index(path, _flags(faiss))
    except RuntimeError as problem:
        reason = " ".join(str(problem).split())
        raise Refusal(f"{path!r} cannot be opened by FAISS ({reason}); build the index anew") from None
    finally:
        _limit(faiss, before)
    if (index.ntotal, index.d, index.metric_type) != (count, dim, faiss.METRIC_INNER_PRODUCT):
        raise Refusal(f"{path!r} holds {index.ntotal} vectors of {index.d}, expected {count} of {dim}; build it anew")
    faiss.extract_index_ivf(index).nprobe = nprobe
    return lambda queries, k: index.search(queries, k)[1]


def _flags(faiss: Any) -> int:
    """How a file is read: its lists are mapped, so that memory holds what searches visit."""
    return faiss.IO_FLAG_MMAP if hasattr(faiss, "OnDiskInvertedLists") else 0  # which FAISS for Windows lacks


def open_codes(codes: str | NDArray[np.uint8], count: int, tiles: int, width: int) -> Candidates:
    """The nearest images of each query, by its nearest code to any of theirs, exact, ties by row.

    codes: [image, tile, byte], or their file. What is found: [2, query, rank], bits that differ and rows. FAISS finds
    the nearest codes: those nearer than the last one found for any code of a query are all there. Where they are of
    fewer than k images, more are looked for, and in the end all are compared.
    """
    import faiss

    held = np.memmap(codes, np.uint8, "r", shape=(count, tiles, width)) if isinstance(codes, str) else codes
    index: Any = faiss.IndexBinaryFlat(8 * width)
    index.add(held.reshape(-1, width))
    if isinstance(held.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        held.base.madvise(mmap.MADV_DONTNEED)  # FAISS has a copy: the pages of the file need no memory any more

    def search(queries: NDArray[np.uint8], k: int) -> NDArray[np.int64]:
        found = np.empty((2, len(queries), k), np.int64)
        left = np.arange(len(queries))
        for times in DEEPER:
            depth = min(times * (k + SPARE), count * tiles)
            if len(left):
                near, rows = index.search(queries[left].reshape(-1, width), depth)
                found[:, left], sure = _nearest_images(near, rows // tiles, len(left), k)
                left = left[~sure & (depth < count * tiles)]
        for query in left:
            found[:, query] = _nearest_of_all(np.unique(queries[query], axis=0), held, k)
        return found

    return search


def _nearest_images(
    near: NDArray[np.int32], rows: NDArray[np.int64], queries: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The k nearest images among those of the codes found, each once, and for which queries they are sure to be it."""
    limit = near[:, -1].reshape(queries, -1).min(axis=1)
    keys = np.sort(rows.reshape(queries, -1) << 16 | near.reshape(queries, -1), axis=1)  # by row, the nearest first
    keys = (keys & 0xFFFF) << 40 | keys >> 16
    keys[:, 1:][keys[:, 1:] % 2**40 == keys[:, :-1] % 2**40] = FAR
    best = np.sort(keys, axis=1)[:, :k]
    best = np.pad(best, ((0, 0), (0, k - best.shape[1])), constant_values=FAR)
    return np.stack([best >> 40, best % 2**40]), best[:, -1] >> 40 < limit


def _nearest_of_all(query: NDArray[np.uint8], held: NDArray[np.uint8], k: int) -> NDArray[np.int64]:
    """The k nearest images of one query [code, byte]: all codes are compared."""
    apart = np.empty(len(held), np.int64)
    for start in range(0, len(held), IMAGES):
        part = held[start : start + IMAGES]
        apart[start : start + IMAGES] = np.min([np.bitwise_count(part ^ code).sum(2).min(1) for code in query], axis=0)
    order = np.argsort(apart, kind="stable")[:k]
    return np.stack([apart[order], order])


def _limit(faiss: Any, limits: dict[str, Any]) -> None:
    for name, value in limits.items():
        setter = getattr(faiss, f"set_deserialization_{name}", None)  # not in FAISS before 1.15
        if setter is not None and value is not None:
            setter(value)


OPENS: dict[str, Callable[..., Candidates]] = {"flat": open_flat, "file": open_file, "codes": open_codes}


def send(pipe: BinaryIO, header: dict[str, Any], numbers: NDArray[Any] | None = None) -> None:
    """A line of JSON, and behind it the bytes of an array whose shape and type the line then tells."""
    told = header if numbers is None else {**header, "shape": numbers.shape, "dtype": numbers.dtype.name}
    pipe.write(json.dumps(told).encode() + b"\n")
    if numbers is not None:
        pipe.write(np.ascontiguousarray(numbers).data)
    pipe.flush()


def receive(pipe: BinaryIO) -> tuple[dict[str, Any], NDArray[Any]]:
    """What `send` wrote, the array empty where there is none. Raises EOFError where the pipe ends before."""
    line = pipe.readline()
    header: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
    shape = header.get("shape", [0])
    dtype = np.dtype(header.get("dtype", "int64"))
    size = int(np.prod(shape)) * dtype.itemsize
    data = pipe.read(size)
    if not line.endswith(b"\n") or len(data) < size:
        raise EOFError
    return header, np.frombuffer(data, dtype).reshape(shape)


def serve() -> None:
    """Answer the requests on stdin in their order, and end when it does: at the latest with the other process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process has got it too, and closes the pipe if it ends
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what FAISS prints must not get among the answers
    requests: SimpleQueue[tuple[dict[str, Any], NDArray[Any]]] = SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    search: Candidates | None = None
    while True:
        request, queries = requests.get()
        try:
            rows = None
            if request["do"] == "write":
                write(**request["given"])
            elif request["do"] == "search" and search is not None:
                rows = search(queries, request["k"])
            else:
                search = OPENS[request["do"]](**request["given"])
            send(answers, {}, rows)
        except Refusal as problem:
            send(answers, {"refusal": str(problem)})
        except Exception as problem:  # whatever it is, the other process must not wait for ever
            send(answers, {"error": " ".join(f"{type(problem).__name__}: {problem}".split())})


def _read(requests: "SimpleQueue[tuple[dict[str, Any], NDArray[Any]]]") -> None:
    """Take requests in while FAISS works, so that the end of the pipe is seen at once, in a long training too."""
    try:
        while True:
            requests.put(receive(sys.stdin.buffer))
    finally:
        os._exit(0)


if __name__ == "__main__":
    serve()
