"""`memdetect lab separation`: the tables of a labelled run."""

import json

from memdetect.cli import run as memdetect
from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Measurement


def test_a_run_becomes_tables(run, capsys, tmp_path):
    command = ["lab", "separation", str(run), "--positive", "duplicated", "--grids"]
    assert memdetect([*command, "--json", str(tmp_path / "all.json")]) == 0
    out = capsys.readouterr().out
    assert "40 duplicated, 40 control, 31 seen, 30 unseen; left out, not finite or unreadable: 1." in out
    table = json.loads((tmp_path / "all.json").read_text())["spikiness"]["table"]
    by_cell = {row["cell"]: row for row in table}
    best = by_cell["chosen"]
    assert (best["layer"], best["timestep"]) == ("up_blocks.0.resnets.0", "10")
    for rival, negatives in (("control", 20), ("seen", 15), ("unseen", 15)):
        assert best[rival]["auroc"] > 0.99
        assert (best[rival]["positives"], best[rival]["negatives"]) == (20, negatives)
    assert best["control"]["tpr_at_fpr"] == 20
    default = by_cell["default"]
    assert (default["layer"], default["timestep"]) == ("mean of up_blocks.0.resnets.*", "50")
    assert default["control"]["low"] < 0.5 < default["control"]["high"]
    assert "| chosen (selection) | up_blocks.0.resnets.0 | 10 |" in out
    assert "spikiness: AUROC of duplicated against unseen, test split\n\n| layer | t = 10 | t = 50 |" in out


def test_an_unlabelled_run_is_refused(tmp_path, capsys):
    folder = RunFolder(tmp_path / "run")
    (folder.path / "shards").mkdir(parents=True)
    folder.write_shard(0, [Measurement(index=0, id="x", prompt="a", source="p")])
    assert memdetect(["lab", "separation", str(folder.path), "--positive", "duplicated"]) == 2
    assert "item x has no group" in capsys.readouterr().err
