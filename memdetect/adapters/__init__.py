"""Adapters (pipeline classes), cards and loading."""

from memdetect.adapters.cards import Card
from memdetect.adapters.models import Model, check_call, load
from memdetect.adapters.points import Point, list_points
from memdetect.adapters.rows import ADAPTERS, Adapter, add_adapter

__all__ = ["ADAPTERS", "Adapter", "Card", "Model", "Point", "add_adapter", "check_call", "list_points", "load"]
