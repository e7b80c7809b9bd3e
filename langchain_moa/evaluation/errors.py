"""What can be wrong with an evaluation."""

from __future__ import annotations


class EvaluationError(ValueError):
    """The questions, the scorer or what was recorded cannot be used; the text says where and what would do."""
