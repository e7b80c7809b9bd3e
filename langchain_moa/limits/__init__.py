"""Limits of model calls: retries, deadlines, quorum and concurrency; and the event loop on which sync code runs async calls."""
