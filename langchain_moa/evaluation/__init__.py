"""Evaluation: whether a mixture beats its best member, and at what cost."""
