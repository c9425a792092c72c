"""The one decision that every output and the exit code read; from records alone, without torch."""

from memdetect.verdict.judging import judge
from memdetect.verdict.outcome import OUTCOMES, Decision, Rule, Shift, Verdict
from memdetect.verdict.reading import Runs, read_runs

__all__ = ["OUTCOMES", "Decision", "Rule", "Runs", "Shift", "Verdict", "judge", "read_runs"]
