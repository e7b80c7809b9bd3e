"""Evaluation of mixtures: comparison with their members, tuning, benchmarks, and Inspect."""
