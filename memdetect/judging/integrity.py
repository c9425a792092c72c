"""Whether a run still is what was fixed before its first image and measured since: every digest, computed anew.

Nothing is signed: this finds what was exchanged or edited by mistake or in passing, not a forger who mends the digests.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from memdetect.errors import Exit, MemdetectError
from memdetect.files import read_regular
from memdetect.judging.calibration import Calibration
from memdetect.judging.columns import distinct
from memdetect.judging.outcome import Rule
from memdetect.judging.rows import Row
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.plan import inputs_digest
from memdetect.runs.policy import held_policy
from memdetect.runs.records import Measurement


def altered(
    folder: RunFolder, header: Header, rows: Sequence[Row] | Sequence[Measurement], digests: Mapping[str, str]
) -> list[str]:
    """What of a run differs from its digest, a line each; the inputs are compared once all of them are measured.

    digests: the sha256 of each shard as it is now, by the file's name.
    """
    return [*_header(folder, header), *_inputs(header, rows), *_shards(folder, digests)]


def unaltered(folder: RunFolder) -> list[Measurement]:
    """The measurements of a run; MemdetectError names what was altered."""
    rows = list(folder.measurements())
    if found := altered(folder, folder.header(), rows, shard_digests(folder)):
        raise MemdetectError(f"{folder.path} was altered: {found[0]}", Exit.ERROR)
    return rows


def shard_digests(folder: RunFolder) -> dict[str, str]:
    """The sha256, in hex, of each shard of a run, by the file's name."""
    return {shard.name: hashlib.sha256(read_regular(shard)).hexdigest() for shard in folder.shards()}


def exchanged(header: Header, calibration: Calibration | None) -> list[str]:
    """A line where the clean scores kept in a run are not those that its header names."""
    if header.calibration and calibration is None:
        return ["calibration.json is missing, though run.json names clean scores; put it back, or scan again"]
    if calibration is not None and calibration.digest != header.calibration:
        return ["calibration.json does not hold the clean scores that run.json names; put those back, or scan again"]
    return []


def _header(folder: RunFolder, header: Header) -> Iterator[str]:
    whole = json.loads((folder.path / "run.json").read_bytes()) == header.model_dump(mode="json")
    if not whole or header.seal != header.sealed().seal:
        yield "run.json is not as it was written, its seal is of another content; scan again"
    if header.plan_digest != header.plan.digest:
        yield "the plan in run.json is not the one whose digest it holds; scan again"
    if header.policy_digest != held_policy(header.policy, "run.json").digest:
        yield "the policy in run.json is not the one whose digest it holds; scan again"


def _inputs(header: Header, rows: Sequence[Row] | Sequence[Measurement]) -> Iterator[str]:
    if not len(rows) == distinct(lambda: (row.id for row in rows)) == header.planned:
        return  # said by the rule `complete`
    if bare := sum(row.image is not None and not row.sha256 for row in rows):
        yield f"{bare} given images were measured without their sha256, so that they may be others; scan again"
        return
    order = rows if all(a.index <= b.index for a, b in pairwise(rows)) else sorted(rows, key=lambda row: row.index)
    if header.plan.inputs != inputs_digest((row.id, row.prompt, row.sha256 or None) for row in order):
        yield "the items that were measured are not those that were planned; scan again"


def _shards(folder: RunFolder, digests: Mapping[str, str]) -> Iterator[str]:
    events = (event for event in folder.events() if event.get("event") == "shard")
    noted = {(str(event.get("file")), str(event.get("sha256"))) for event in events}
    for name, digest in digests.items():
        if (name, digest) not in noted:
            yield f"shards/{name} is not what the journal says was written; delete it and scan again"


def integrity(altered: Sequence[str]) -> Iterator[Rule]:
    """A rule where something was altered after it was fixed or measured; the first three are named."""
    if altered:
        more = f"; and {len(altered) - 3} more" if len(altered) > 3 else ""
        yield Rule("integrity", "inconclusive", f"{'; '.join(altered[:3])}{more}", len(altered), 0)
