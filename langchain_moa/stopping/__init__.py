"""Stop conditions: when a closed layer is enough. A module here is one, found by its name."""
