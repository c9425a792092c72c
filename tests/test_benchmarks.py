"""What the benchmarks compute: ratios of two works on one machine."""

from pathlib import Path

import torch
from scripts import script

startup = script("startup")


# Ratios


def test_a_ratio_pairs_neighbours_and_takes_turns():
    now, order = [0.0], []

    def work(name, seconds):
        def run():
            order.append(name)
            now[0] += seconds * (1 + len(order) // 2)  # a machine that gets slower and slower

        return run

    ratio = startup.compare(work("a", 3.0), work("b", 2.0), rounds=4, clock=lambda: now[0])
    assert order == ["a", "b", "a", "b", "b", "a", "a", "b", "b", "a"]
    assert len(ratio.values) == 4
    assert 1.0 < ratio.median < 2.2


def test_a_report_has_the_spread_and_the_bar():
    line = startup.Ratio((1.0, 1.1, 1.2, 1.3, 9.0)).report("A over B", 1.15)
    assert line == "A over B: 1.200 (quartiles 1.100 to 1.300, range 1.000 to 9.000, 5 rounds; bar 1.15: missed)"
    assert "bar 1.20: met" in startup.Ratio((1.2,)).report("A over B", 1.2)


def test_the_overhead_of_a_family_is_measured_against_its_own_bare_pipeline(monkeypatch):
    """The two works make the same latents, and an ended pass has fewer operations than a whole one."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    overhead = script("overhead")
    model = overhead.tiny("ddpm")
    sampler = overhead.Sampler.of(model, steps=2, num_seeds=1, batch_size=2)
    look = overhead.Look.at(model)
    ended, whole = overhead.passes(look, 2)
    assert 0.2 < overhead.operations(ended) / overhead.operations(whole) < 0.9
    made = []
    original = type(model.pipe).__call__
    with monkeypatch.context() as patched:
        patched.setattr(type(model.pipe), "__call__", lambda *a, **k: made.append(original(*a, **k)) or made[-1])
        overhead.bare(model, sampler, ["0", "1"], "")()
    trace = overhead.probe_prompts(model, ["", ""], ids=["0", "1"], sampler=sampler, look=look)
    bare = torch.from_numpy(made[0].images).permute(0, 3, 1, 2) * 2 - 1
    torch.testing.assert_close(trace.latents.flatten(0, 1), bare)
