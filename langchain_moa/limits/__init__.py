"""Limits of calls: retries, deadlines, quorum, calls at once; and sync code that waits for async calls."""
