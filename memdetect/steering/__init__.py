"""Add a direction to a running denoiser: build it, apply it, measure how images answer (the paper's steering)."""

from memdetect.steering.applying import Course, Grid, apply, draw, strengths_of
from memdetect.steering.building import Recipe, build
from memdetect.steering.edits import Edit, along, to_ground
from memdetect.steering.hooks import Window, steer
from memdetect.steering.measuring import CURVES, DETECTORS, SHAPES, Trial, measure
from memdetect.steering.vector import Vector, read_vector

__all__ = [
    "CURVES",
    "DETECTORS",
    "SHAPES",
    "Course",
    "Edit",
    "Grid",
    "Recipe",
    "Trial",
    "Vector",
    "Window",
    "along",
    "apply",
    "build",
    "draw",
    "measure",
    "read_vector",
    "steer",
    "strengths_of",
    "to_ground",
]
