"""A bench (`bench.json` as plain data) -> tables for a terminal, and CSV; no torch."""

from memdetect.render.bench.flat import bench_csv
from memdetect.render.bench.tables import render_bench

__all__ = ["bench_csv", "render_bench"]
