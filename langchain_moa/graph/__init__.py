"""The graph of a mixture."""
