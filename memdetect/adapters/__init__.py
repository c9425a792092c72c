"""Model families, cards and loading."""

from memdetect.adapters.cards import Card
from memdetect.adapters.models import Model, check_call, load
from memdetect.adapters.points import Point, list_points
from memdetect.adapters.rows import FAMILIES, Family, add_family

__all__ = ["FAMILIES", "Card", "Family", "Model", "Point", "add_family", "check_call", "list_points", "load"]
