"""The time to process untrusted text grows linearly with its length, not quadratically."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.scanners import PARTS

# Of the processor's time, so that a busy machine makes no difference. All of it takes a minute or two; a scanner whose time
# grows with the square of a megabyte takes hours.
LIMIT = 900


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of the processor's time for a process")
@pytest.mark.parametrize("part", range(PARTS))
def test_no_text_takes_more_than_linear_time(part: int) -> None:
    limit = f"resource.setrlimit(resource.RLIMIT_CPU, ({LIMIT}, {LIMIT}))"
    program = f"import resource; from tests.scanners import main; {limit}; main({part})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603  # our own
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, f"it ended with {done.returncode} at {last}: {done.stderr[-2000:]}"
