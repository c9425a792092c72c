"""Damage to files that memdetect reads, drawn from a seed: JSON, JSON lines, TOML and safetensors."""

import copy
import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**30, 0.0, -0.5, 1e308, -1e308, 5e-324, float("nan"),
    float("inf"), float("-inf"), "", "x", "0", "\x00", "\u202e", "::error::x", "a" * 5000, "../../etc", "2026-13-45",
    [], {}, [[]], [None], {"": None}, ["x", "y"], [0], [-1, 2], {"x": 1},
)  # fmt: skip
DEEP = 3000
WRITTEN = (  # as TOML has them
    "-1", "0", "1", "3", "-5", "nan", "inf", "-inf", "true", "1e400", "99999999999999999999999", "0.5", "-0.0", "{}",
    "[]", "[1]", '["x"]', "{a = 1}", '""', '"x"', '"\\u0000"', "1979-05-27", "07:32:00", "[" * 2000,
    '"' + "x" * 5000 + '"',
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value within a value, lists cut to their first three."""
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, own in inner:
        yield from places(own, (*at, key))


def changed(content: Any, rng: random.Random) -> Any:
    """A value with one or two of its parts exchanged, dropped, repeated, renamed or nested."""
    made = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 1, 2))):
        *way, last = rng.choice([place for place in places(made) if place] or [("",)])
        holder = made
        for key in way:
            holder = holder[key]
        if last == "" and not isinstance(holder, dict):
            return _value(rng)
        rng.choice((_set, _set, _set, _set, _drop, _drop, _scale, _scale, _wrap, _more, _rename))(holder, last, rng)
    return made


def _value(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(VALUES))


def _set(holder: Any, key: Any, rng: random.Random) -> None:
    holder[key] = _value(rng)


def _drop(holder: Any, key: Any, rng: random.Random) -> None:
    holder.pop(key, None) if isinstance(holder, dict) else holder.pop(key)


def _scale(holder: Any, key: Any, rng: random.Random) -> None:
    """A number by another of its kind, a text by one letter more: what is nearly right."""
    held = holder.get(key) if isinstance(holder, dict) else holder[key]
    if isinstance(held, bool) or not isinstance(held, int | float | str):
        return _set(holder, key, rng)
    near = (held + rng.choice((-1, 1)), -held, held * 1000) if not isinstance(held, str) else (held + "x", held[:-1])
    holder[key] = rng.choice(near)
    return None


def _wrap(holder: Any, key: Any, rng: random.Random) -> None:
    held = holder.get(key) if isinstance(holder, dict) else holder[key]
    holder[key] = rng.choice(([held], {"x": held}, [held, held]))


def _more(holder: Any, key: Any, rng: random.Random) -> None:
    if isinstance(holder, dict):
        holder[rng.choice(("", "x", "__class__", "model_config"))] = _value(rng)
    else:
        holder.extend(copy.deepcopy(holder[:1]) * rng.choice((1, 3)))


def _rename(holder: Any, key: Any, rng: random.Random) -> None:
    if isinstance(holder, dict) and key in holder:
        holder[rng.choice((f"{key}x", str(key).upper(), f" {key}"))] = holder.pop(key)


def broken(data: bytes, rng: random.Random) -> bytes:
    """Bytes cut, flipped, repeated, nested too deep, or of another encoding."""
    spot = rng.randrange(len(data) + 1)
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: data[:spot],
        lambda: b"",
        lambda: data[:spot] + bytes([rng.randrange(256)]) + data[spot + 1 :],
        lambda: data[:spot] + rng.randbytes(8) + data[spot:],
        lambda: data + data,
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data.decode("latin-1").encode("utf-16"),
        lambda: b"[" * DEEP,
        lambda: b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        lambda: data[:spot] + b"9" * 5000 + data[spot:],
        lambda: data[:spot] + b'"\\ud800"' + data[spot:],
        lambda: data[:spot] + b"\x00" + data[spot:],
        lambda: data.replace(b":", b":[" * 300, 1),
        lambda: data.replace(b"{", b'{"a":1,"a":2,', 1),
    )
    return rng.choice(ways)()


def damaged_json(data: bytes, rng: random.Random) -> bytes:
    """A JSON file, damaged; its form, such as the indent, as it was."""
    if rng.random() < 0.25:
        return broken(data, rng)
    return json.dumps(changed(json.loads(data), rng), indent=1).encode()


def damaged_lines(data: bytes, rng: random.Random) -> bytes:
    """JSON lines, of which one is damaged, gone, or there twice."""
    lines = data.splitlines()
    if not lines or rng.random() < 0.1:
        return broken(data, rng)
    spot = rng.randrange(len(lines))
    way = rng.random()
    if way < 0.1:
        lines.pop(spot)
    elif way < 0.2:
        lines.insert(spot, lines[spot])
    elif way < 0.4:
        lines[spot] = broken(lines[spot], rng)
    else:
        lines[spot] = json.dumps(changed(json.loads(lines[spot]), rng)).encode()
    return b"\n".join(lines) + b"\n"


def damaged_toml(data: bytes, rng: random.Random) -> bytes:
    """A TOML file of which one value is exchanged, or whose bytes are damaged."""
    lines = data.decode().splitlines()
    spots = [i for i, line in enumerate(lines) if " = " in line]
    if not spots or rng.random() < 0.2:
        return broken(data, rng)
    spot = rng.choice(spots)
    key = lines[spot].partition(" = ")[0]
    value = rng.choice(WRITTEN)
    lines[spot] = rng.choice((f"{key} = {value}", f"{key}x = {value}", "", f"{lines[spot]}\n{lines[spot]}"))
    return "\n".join(lines).encode()


def damaged_safetensors(data: bytes, rng: random.Random) -> bytes:
    """A .safetensors file with a damaged header, a header of another length, or fewer bytes."""
    size = struct.unpack("<Q", data[:8])[0]
    head, body = data[8 : 8 + size], data[8 + size :]
    way = rng.random()
    if way < 0.15:
        return data[: rng.randrange(len(data))]
    if way < 0.3:
        return struct.pack("<Q", rng.choice((0, 1, 7, size + 1, 2**31, 2**63, 2**64 - 1))) + head + body
    if way < 0.35:
        return head
    made = json.loads(head)
    made = changed(made, rng)
    text = json.dumps(made).encode() if way < 0.9 else broken(head, rng)
    return struct.pack("<Q", len(text)) + text + body
