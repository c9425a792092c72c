"""A bench is one run: a changed plan is refused by its key, a stop is resumed, and a bank is made of clean prompts."""

from dataclasses import replace

import pytest
from tiny_adapters import tiny_adapter

from memdetect.adapters import load
from memdetect.detectors import BUILT_IN
from memdetect.errors import MemdetectError
from memdetect.evaluation.bench.asked import Asked, Comparison, labelled_of
from memdetect.evaluation.bench.costs import costs_of
from memdetect.evaluation.bench.report import selection_of
from memdetect.evaluation.bench.running import Settings, run_bench
from memdetect.inputs.options import Probing, Sampling, Sharing
from memdetect.inputs.prompts import Request
from memdetect.runs.folder import RunFolder
from memdetect.scanning import Options
from memdetect.scanning.loop import Watch

ASKED = Asked((Comparison("famous"),), clean=("fresh",))
PROBING = Probing(layers=("mid_block*",), timesteps=(50,), detectors=("sharpness", "specificity", "spikiness"))


def requests(clean):
    named = {"famous": 4, "fresh": clean}
    return [
        Request(f"{g}-{i:02d}", f"{g} {i}", None, "p", 1, {"group": g, "family": f"{g}{i}"})
        for g, n in named.items()
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def model(pipe):
    return load(pipe)


@pytest.fixture(scope="module")
def settings():
    return Settings(Options(sampling=Sampling(num_seeds=2, steps=4, guidance_scale=2.0), probing=PROBING), (1, 3))


@pytest.fixture(scope="module")
def banked(model, settings, tmp_path_factory):
    """A bench with clean prompts enough for a bank, its prompts and its folder."""
    items, labels = labelled_of(requests(66), ASKED)
    out = tmp_path_factory.mktemp("banked") / "run"
    return run_bench(items, labels, model, out, settings, Watch()), items, labels, out


def test_a_bank_of_the_clean_prompts_of_the_tuning_split_serves_what_compares_with_one(banked):
    measured, items, labels, out = banked
    assert measured.finished
    assert measured.prepared.missing == {}
    assert {row.id for row in measured.rows} == {item.id for item in items}
    bank = measured.prepared.bench.bank
    assert len(bank.families) == 22 == len(labels.ids(["fresh"], "tuning"))
    assert measured.header.plan.bank == bank.digest
    assert len(list(out.glob("*.bank.safetensors"))) == 1
    assert all(row.scores["specificity"].score is not None for row in measured.rows)


def test_other_steps_are_detectors_of_the_plan(banked):
    measured = banked[0]
    names = list(measured.header.plan.detectors)
    assert names == ["sharpness", "sharpness @ step 3", "specificity", "spikiness"]
    assert measured.header.plan.readings["sharpness @ step 3"].places == (("run", "all"),)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"sampling": Sampling(num_seeds=3, steps=4, guidance_scale=2.0)}, "num_seeds was 2, now 3"),
        ({"sampling": Sampling(num_seeds=2, steps=5, guidance_scale=2.0)}, "steps was 4, now 5"),
        ({"probing": replace(PROBING, timesteps=(50, 100))}, r"timesteps was \[50\], now \[50, 100\]"),
        ({"probing": replace(PROBING, detectors=("sharpness", "specificity"))}, "detectors was"),
    ],
)
def test_a_changed_plan_is_refused_by_its_key(banked, model, settings, change, key):
    _, items, labels, out = banked
    before = sorted(path.name for path in out.iterdir())
    with pytest.raises(MemdetectError, match=f"holds a run with another plan: {key}"):
        run_bench(items, labels, model, out, replace(settings, options=replace(settings.options, **change)), Watch())
    assert sorted(path.name for path in out.iterdir()) == before, "no bank was made for it"


def test_other_prompts_are_refused(banked, model, settings):
    items, labels = labelled_of(requests(63), ASKED)
    with pytest.raises(MemdetectError, match="holds a run with another plan: inputs was"):
        run_bench(items, labels, model, banked[3], settings, Watch())


def test_a_run_that_was_stopped_goes_on_where_it_was(model, settings, tmp_path):
    items, labels = labelled_of(requests(6), ASKED)
    small = replace(settings, options=replace(settings.options, sharing=Sharing(shard_size=2)))
    asked = iter([False, False, True])
    stopped = run_bench(items, labels, model, tmp_path / "run", small, Watch(stop=lambda: next(asked)))
    assert (stopped.finished, stopped.rows) == (False, ())
    assert "there are 2; give more by --clean-group" in stopped.prepared.missing["specificity"]
    held = {path.name: path.read_bytes() for path in RunFolder(tmp_path / "run").shards()}
    assert len(held) == 2
    whole = run_bench(items, labels, model, tmp_path / "run", small, Watch())
    assert len(whole.rows) == len(items)
    assert {path.name: path.read_bytes() for path in RunFolder(tmp_path / "run").shards()}.items() >= held.items()


def test_a_stop_while_the_bank_is_made_leaves_no_run(model, settings, tmp_path):
    items, labels = labelled_of(requests(66), ASKED)
    assert run_bench(items, labels, model, tmp_path / "run", settings, Watch(stop=lambda: True)) is None
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_model_that_serves_none_of_the_detectors_is_an_error(model, tmp_path):
    items, labels = labelled_of(requests(6), ASKED)
    one = Settings(Options(sampling=Sampling(num_seeds=1, steps=2), probing=Probing(detectors=("agreement-final",))))
    with pytest.raises(MemdetectError, match="no detector is left to measure: detector 'agreement-final' compares"):
        run_bench(items, labels, model, tmp_path / "run", one, Watch())


@pytest.mark.parametrize("adapter", ["lcm", "sd3", "ddpm"])
def test_every_detector_is_measured_or_missing_for_a_reason(adapter, tmp_path):
    """Whatever is built in: guidance that is distilled, joint attention, no condition at all."""
    model = load(tiny_adapter(adapter, tmp_path))
    prompted = model.adapter.condition == "prompt"
    rows = requests(6)
    items, labels = labelled_of(rows if prompted else [replace(row, prompt="") for row in rows], ASKED)
    probing = Probing(layers=tuple(model.card.layers), timesteps=(50,))
    few = Settings(Options(sampling=Sampling(num_seeds=2, steps=3, guidance_scale=2.0), probing=probing))
    made = run_bench(items, labels, model, tmp_path / "run", few, Watch())
    measured = {variant.detector for variant in made.prepared.variants}
    assert measured | set(made.prepared.missing) == {detector.name for detector in BUILT_IN}
    assert not measured & set(made.prepared.missing)
    assert ("noise-gap" in measured) == (adapter == "sd3")
    assert all(name in reason for name, reason in made.prepared.missing.items())
    selected = selection_of(made, labels)
    costs = costs_of(selected.chosen, made.prepared, {})
    assert {each.detector for each in selected.chosen} | set(selected.missing) == {each.name for each in BUILT_IN}
    assert all(costs[each.detector].alone >= costs[each.detector].more >= 0 for each in selected.chosen)
