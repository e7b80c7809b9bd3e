"""Aggregations: how the last references become the answer. A module here is one, found by its name."""
