"""The description of a mixture: its fields, and how they are read."""
