"""A mixture as one chat model."""
