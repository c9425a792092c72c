"""The one decision that every output and the exit code read; from records alone, without torch."""

from memdetect.judging.outcome import OUTCOMES, Decision, Rule, Shift, Verdict
from memdetect.judging.reading import Runs, read_runs
from memdetect.judging.verdict import judge

__all__ = ["OUTCOMES", "Decision", "Rule", "Runs", "Shift", "Verdict", "judge", "read_runs"]
