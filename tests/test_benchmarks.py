"""What the benchmarks compute: ratios of two works on one machine."""

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
