"""The whole command on a few steps: every number and figure written, the same again by seed, errors in one line."""

import json
import re
import sys
from dataclasses import replace
from functools import partial

import matplotlib
import numpy as np
import pytest
from PIL import Image

from memdetect.cli import run
from memdetect.errors import MemdetectError
from memdetect.lab.theory import figures, presets
from memdetect.lab.theory.data import from_mixture
from memdetect.lab.theory.measure import measure
from memdetect.lab.theory.network import lambda_of
from memdetect.lab.theory.results import RegimeResult, SamplingResult, TransitionResult, read_result
from memdetect.lab.theory.run import Options, reproduce
from memdetect.lab.theory.transition import RECIPE, transition

FIGURES = ["weights", "representations", "denoising", "spectrum", "hybrid", "sampling", "transition"]


@pytest.fixture(scope="module", autouse=True)
def few_panels():
    """Small ones, without the numbers at their axes: Matplotlib takes its time for each."""
    plain = {"xtick.labelbottom": False, "ytick.labelleft": False}
    with pytest.MonkeyPatch.context() as patch, matplotlib.rc_context(plain):
        patch.setattr("memdetect.lab.theory.measure.UNITS_SHOWN", 2)
        patch.setattr("memdetect.lab.theory.sampling.SHOWN", 1)
        few = partial(transition, samples=(4, 64), units=(4, 8, 16))
        patch.setattr("memdetect.lab.theory.transition.transition", few)
        patch.setattr(figures, "DPI", 50)
        yield


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory):
    """The mixture, all regimes, three steps each."""
    out = tmp_path_factory.mktemp("lab") / "new"
    return out, reproduce(out, Options(data="mixture", steps=3))


def test_every_number_and_figure_is_written(lab):
    out, lines = lab
    for name in presets.REGIMES:
        result = read_result(out / f"{name}.json", RegimeResult)
        assert (result.regime, result.data, result.preset) == (name, "mixture", "reduced, steps 3")
        assert result.trained_units
        assert any(line.startswith(name) for line in lines)
    read_result(out / "sampling-memorize.json", SamplingResult)
    read_result(out / "sampling-generalize.json", SamplingResult)
    read_result(out / "transition.json", TransitionResult)
    assert not (out / "sampling-hybrid.json").exists()
    for name in FIGURES:
        with Image.open(out / f"{name}.png") as picture:
            assert min(picture.size) > 100


def test_figures_are_drawn_from_the_numbers_alone(lab, tmp_path):
    """From the same numbers the same pictures; another number changes the one picture that shows it."""
    out, _ = lab
    for path in out.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    numbers = json.loads((tmp_path / "memorize.json").read_text())
    numbers["bars"][0]["values"][0] += 5
    (tmp_path / "memorize.json").write_text(json.dumps(numbers))
    assert [path.name for path in figures.draw(tmp_path)] == [f"{name}.png" for name in FIGURES]
    changed = [n for n in FIGURES if (tmp_path / f"{n}.png").read_bytes() != (out / f"{n}.png").read_bytes()]
    assert changed == ["representations"]


def test_the_same_seed_gives_the_same_numbers():
    drawn = from_mixture(400, seed=0)
    plan = presets.plan("hybrid", pictures=False, full=False)
    plan = replace(plan, samples=200, times=20, recipe=replace(plan.recipe, steps=3))
    first, again, other = (measure(drawn, "hybrid", plan, seed, "test")[0].model_dump_json() for seed in (1, 1, 2))
    assert first == again
    assert json.loads(first)["loss"] != json.loads(other)["loss"]


def test_pictures_are_drawn_as_pictures(tmp_path, capsys):
    wanted = f"lab relu-dae --out {tmp_path} --regime memorize --train-steps 2 --no-transition --no-sampling"
    code = run([*wanted.split(), "--optimizer", "adam", "--noise-level", "0.5"])
    assert code == 0
    out, _ = capsys.readouterr()
    result = read_result(tmp_path / "memorize.json", RegimeResult)
    assert result.preset == "reduced, optimizer adam, sigma 0.5, steps 2"
    assert (result.trained_units[0].side, len(result.trained_units[0].values)) == (32, 1024)
    assert result.between is None
    assert "conditions hold: beta -0." in out
    assert out.endswith("spectrum.png\n")


def test_a_folder_of_few_images_that_are_all_dark(tmp_path, capsys):
    """One cluster, from which nothing lies away."""
    rng = np.random.default_rng(0)
    for k in range(24):
        pixels = np.clip(40 + rng.normal(0, 20, (40, 20 + k, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
    out = tmp_path / "out"
    wanted = f"lab relu-dae --out {out} --data {tmp_path} --regime hybrid --train-steps 2 --no-transition --no-sampling"
    assert run(wanted.split()) == 0
    result = read_result(out / "hybrid.json", RegimeResult)
    assert result.data == tmp_path.name
    assert [block.cluster for block in result.blocks] == ["duplicate 0", "duplicate 1", "duplicate 2", "cluster 0"]
    assert re.match(r"beta is 0\.\d+, the theorem needs it below 0", result.problems[0])
    assert result.problems[0] in capsys.readouterr().out


def test_conditions_that_fail_are_said(lab):
    out, lines = lab
    problems = read_result(out / "generalize.json", RegimeResult).problems
    assert problems
    assert all(f"  the theory's conditions do not hold: {problem}" in lines for problem in problems)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--regime", "overfit"], "no regime named 'overfit'; choose one of memorize, generalize, hybrid or all"),
        (["--data", "nowhere"], "'nowhere' is no folder; give tiles, pictures, mixture or a folder of images"),
        (["--optimizer", "lion"], "no optimizer named 'lion'; choose one of adam, adamw, rmsprop, sgd"),
        (["--noise-level", "nan"], "'--noise-level'"),
        (["--train-steps", "0"], "'--train-steps'"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["lab", "relu-dae", "--out", str(out), *arguments]) == 2
    printed, said = capsys.readouterr()
    assert printed == ""
    assert message in said
    assert said.count("\n") == 1
    assert not out.exists()


def test_figures_without_matplotlib_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MemdetectError, match=r"the `report` extra: pip install 'memdetect\[report\]'"):
        figures.pyplot()


def test_matplotlib_is_imported_when_figures_are_drawn(ready):
    code = "import sys, memdetect.lab.theory.run, memdetect.lab.theory.figures; print('matplotlib' in sys.modules)"
    assert ready.run(code) == "False\n"


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(MemdetectError, match=r"memorize\.json' is missing; run `memdetect lab relu-dae`"):
        read_result(tmp_path / "memorize.json", RegimeResult)
    (tmp_path / "memorize.json").write_text('{"regime": "memorize"}')
    with pytest.raises(MemdetectError, match=r"memorize\.json': data: Field required"):
        figures.draw(tmp_path)


def test_the_transition_on_a_few_samples():
    moved = transition(0, samples=(4, 512), units=(24,), recipe=replace(RECIPE, steps=600))
    assert moved.between[1][0] > 0.7
    assert moved.between[1][0] > moved.between[0][0] + 0.2
    assert moved.unseen[0][0] > 20 * moved.seen[0][0]
    assert moved.unseen[1][0] < 2 * moved.seen[1][0]


def test_presets_are_the_papers():
    full = presets.plan("memorize", pictures=True, full=True)
    assert (full.samples, full.recipe.units, full.recipe.steps) == (5, 100, 50_000)
    assert full.recipe.decay == lambda_of(0.01, 1024) == 5.12
    many = presets.plan("generalize", pictures=True, full=True)
    assert (many.samples, many.recipe.draws, many.recipe.rate) == (10_000, 256, 1e-4)
    assert many.recipe.decay == pytest.approx(0.0512)
    with pytest.raises(MemdetectError, match="no optimizer named"):
        presets.adjust(full, "lion", None, None)
