"""A vector for the tiny pipeline."""

from typing import Any

import pytest
from steered_pipes import random_vector

from memdetect.steering import Vector


@pytest.fixture(scope="session")
def vector(pipe: Any) -> Vector:
    """Random directions at several layers."""
    return random_vector(pipe)
