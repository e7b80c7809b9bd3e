"""The time for untrusted text grows linearly with its length."""

from __future__ import annotations

import subprocess
import sys

import pytest

from langchain_moa.data.redaction import redact
from tests.scanners import LONG, MEGABYTE, PARTS, check

# Seconds of the processor for one part, which takes about ten: a scanner that hangs is ended.
LIMIT = 300


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of the processor's time for a process")
@pytest.mark.parametrize("part", range(PARTS))
def test_no_text_takes_more_than_linear_time(part: int) -> None:
    limit = f"resource.setrlimit(resource.RLIMIT_CPU, ({LIMIT}, {LIMIT}))"
    program = f"import resource; from tests.scanners import main; {limit}; main({part})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603  # our own
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, f"it ended with {done.returncode} at {last}: {done.stderr[-2000:]}"


def test_a_scanner_that_takes_the_square_of_the_time_is_found() -> None:
    def quadratic(text: str) -> None:
        for start in range(0, len(text), 100):
            text[start:].count("xy")

    with pytest.raises(AssertionError, match="times the time"):
        check(quadratic, "x")


def test_many_credentials_take_linear_time() -> None:
    # Copying the text for each of them takes longer than finding them only in a long text.
    check(redact, "://:1@", shorter=LONG, longer=MEGABYTE)
