"""What can become of a copy, and still be one: a table of named damages, each drawn at random from a seed."""

from memdetect.lab.evidence.damages.table import DAMAGES, GROUPS, Damage, sized

__all__ = ["DAMAGES", "GROUPS", "Damage", "sized"]
