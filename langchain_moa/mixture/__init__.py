"""The description of a mixture: its fields, its members, and its YAML files and presets."""
