"""Fixtures of all tests."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import certifi
from hypothesis import HealthCheck, settings

from tests.loopback.fixtures import chat, loopback

if TYPE_CHECKING:
    import pytest

__all__ = ["chat", "loopback"]

# The files that take longest. They start first, so that the other workers do not wait for them at the end.
_LONG = {
    *(
        "test_batch.py",
        "test_cancellation.py",
        "test_docstrings.py",
        "test_eval_ending.py",
        "test_examples.py",
        "test_faults.py",
    ),
    *("test_few_files.py", "test_half_price.py", "test_hostile_member.py", "test_linear.py", "test_prompt_caching_docs.py"),
    *("test_ray.py", "test_recorded.py", "test_recorded_comparison.py", "test_speed_benchmark.py"),
}

# No test asserts a time, so disable Hypothesis's limits for single cases and for their generation.
# If CI is set, every run tries the same cases, as in Hypothesis's CI profile, so that changes do not fail by chance.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the process, and thereby the subprocesses of tests."""
    _trust_one_authority(config)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Shells start background jobs so. Tests that send Ctrl-C to a subprocess would wait for ever.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _trust_one_authority(config: pytest.Config) -> None:
    """Let all clients, including those of subprocesses, trust one certificate authority instead of 150.

    No test connects to other machines, and every client of a provider loads all authorities, which takes 50 ms of CPU, several
    times for each model.
    """
    end = "-----END CERTIFICATE-----\n"
    first, _, _ = Path(certifi.where()).read_text(encoding="utf-8").partition(end)
    folder = tempfile.TemporaryDirectory(prefix="authorities-")
    config.add_cleanup(folder.cleanup)
    bundle = Path(folder.name) / "one.pem"
    bundle.write_text(first + end, encoding="utf-8")
    os.environ["SSL_CERT_FILE"] = str(bundle)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the files that take longest to the front."""
    items.sort(key=lambda item: item.path.name not in _LONG)
