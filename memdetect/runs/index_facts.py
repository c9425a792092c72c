"""What an index covers and which copies it can find, in words. No torch, no numpy: gates and reports read it too.

An index is what a run's header holds of it, which `found_by` makes of a manifest.
"""

from collections.abc import Mapping
from typing import Any

FOUND = 0.9  # of planted copies of a kind: from here on the index finds that kind
MILD = "recompressed"
BLIND = 0.9  # share of a training image that has to agree, from which no part of one is found


def found_by(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a header says of an index, of its manifest as JSON has it: what was planted, and what the index covers.

    recall: share, 0 to 1, of mildly damaged copies that were called copies, None where none was tried; planted: of how
    many pictures; finds: the same share by kind of geometric change, of the kinds that were tried. pictures: distinct
    ones in the index; coverage: their share of the training set, None where its size is not known, which is at least
    what is in the index and what could not be taken in (left_out); stated_by: who says how large it is. as_trained: how
    training made squares ("512,center"), "" = the index holds whole pictures. tightened_share: of the copy rule's room
    that is left, only where held-out images were trusted to be no copies.
    """
    mild, whole, squares = manifest["planted"], manifest["training_set"], manifest["as_trained"]
    own = manifest.get("tightened")
    lost = sum(manifest["skipped"].values())
    return {
        "recall": mild["copies"] if mild["images"] else None,
        "planted": mild["images"],
        "finds": {kind: found["copies"] for kind, found in manifest["geometry"].items() if found["images"]},
        "pictures": manifest["pictures"],
        "coverage": manifest["pictures"] / max(whole, manifest["pictures"] + lost) if whole else None,
        "stated_by": manifest["training_set_by"],
        "left_out": lost,
        "as_trained": f"{squares['size']},{squares['crop']}" if squares else "",
        **({"tightened_share": own["share"]} if own else {}),
    }


def finds_phrase(index: Mapping[str, Any]) -> str:
    """Which changed copies an index finds and which not, of what `found_by` gives; without a full stop.

    A kind is found from FOUND on: "finds copies that were recompressed [100 %]; does not find mirrored [3 %]".
    """
    shares: dict[str, float] = {} if index.get("recall") is None else {MILD: index["recall"]}
    shares |= index.get("finds") or {}
    if not shares:
        return f"was not tried with changed copies{_tightened(index)}"
    yes = [_named(kind, share) for kind, share in shares.items() if share >= FOUND]
    no = [_named(kind, share) for kind, share in shares.items() if share < FOUND]
    parts = ["finds copies that were " + _joined(yes, "and")] if yes else []
    said = "; ".join([*parts, "does not find " + _joined(no, "or")] if no else parts)
    return said + _tightened(index)


def _tightened(index: Mapping[str, Any]) -> str:
    """That the index's own copy rule is tighter than the usual one, by whose word; "" where it is not."""
    share = index.get("tightened_share")
    if share is None or share >= 1:
        return ""
    return f"; calls an image a copy only within {share:.0%} of the usual room, by held-out images trusted to be none"


def coverage_phrase(index: Mapping[str, Any]) -> str:
    """How much of the training set an index covers, and who says how large that is; for header and `found_by` alike."""
    share, by, lost = index.get("coverage"), index.get("stated_by"), index.get("left_out")
    missing = f" ({lost} that are there could not be taken in)" if lost else ""
    if share is None:
        return f"an unknown share of the training set{missing}"
    shown = f"{share:.{0 if share >= 1 else 2}%} of the training set"
    return f"{shown}{f' as {by} states its size' if by else ''}{missing}"


def _named(kind: str, share: float) -> str:
    """A share below one is never shown as 100 %, nor one above zero as 0 %."""
    shown = min(round(share * 100), 99) if share < 1 else 100
    return f"{kind} [{max(shown, 1) if share > 0 else 0} %]"


def _joined(names: list[str], last: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
