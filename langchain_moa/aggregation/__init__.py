"""Aggregations: how the last references become the answer. Each module is one aggregation, and its name is the module's."""
