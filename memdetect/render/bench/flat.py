"""A bench as a flat table: CSV with a row for each comparison and detector."""

import csv
from collections.abc import Mapping
from io import StringIO
from typing import Any

from memdetect.render.text import guard

Record = Mapping[str, Any]
SIDES = ("control", "clean")


def bench_csv(found: Record) -> str:
    """A row for each comparison and detector: everything that the tables hold, and how it was chosen."""
    rows = [_flat(found, comparison, row) for comparison in found["comparisons"] for row in comparison["rows"]]
    out = StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([guard(name) for name in rows[0]])
    for row in rows:
        writer.writerow([guard(cell) for cell in row.values()])
    return out.getvalue()


def _flat(found: Record, comparison: Record, row: Record) -> dict[str, Any]:
    own = next(each for each in found["detectors"] if each["detector"] == row["detector"])
    flat: dict[str, Any] = {"positive": comparison["positive"], "control": comparison["control"]}
    flat["detector"] = row["detector"]
    for side in SIDES:
        held, told = row[side] or {}, comparison["text"][side] or {}
        flat |= {f"{side}:{name}": held.get(name) for name in ("auroc", "low", "high", "positives", "negatives")}
        flat |= {f"{side}:less_best_{name}": (held.get("behind") or {}).get(name) for name in ("value", "low", "high")}
        for level in ("1%", "5%"):
            tpr = next((t for t in held.get("tpr", ()) if f"{t['level']:.0%}" == level), {})
            flat |= {f"{side}:tpr_{level}{part}": tpr.get(name) for part, name in TPR.items()}
        flat[f"{side}:text"] = told.get("auroc")
    flat |= {f"fdr:{name}": (row["found"] or {}).get(name) for name in ("found", "false", "m", "n", "needed")}
    flat |= {f"style{part}": (row["style"] or {}).get(name) for part, name in STYLE.items()}
    flat["lost"] = row["lost"]
    return flat | {name: value for name, value in own.items() if name not in ("detector", "place")}


TPR = {"": "share", ":low": "low", ":high": "high", ":found": "found", ":false": "false"}
STYLE = {"": "auroc", ":low": "low", ":high": "high"}
