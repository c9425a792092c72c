"""A Ray cluster of two processors in a process of its own, which many tests connect to."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

CLUSTER = """
import logging, sys, ray
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""
HERE = Path(__file__).parent
# What its workers import; they belong to the cluster, not to who asks it for something.
ENV = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
ENV |= {"RAY_raylet_start_wait_time_s": "300"}  # of a busy machine
ENV |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid4().hex}


@contextmanager
def cluster() -> Iterator[str]:
    """The address of a cluster that ends with the body, with its token in the environment."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen(
            [sys.executable, "-c", CLUSTER], env={**os.environ, **ENV}, text=True, start_new_session=True, **pipes
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        patch.setenv("RAY_AUTH_MODE", ENV["RAY_AUTH_MODE"])
        patch.setenv("RAY_AUTH_TOKEN", ENV["RAY_AUTH_TOKEN"])
        address = process.stdout.readline().strip()
        assert address, "the cluster did not start"
        yield address
        process.stdin.close()
        process.wait(60)
