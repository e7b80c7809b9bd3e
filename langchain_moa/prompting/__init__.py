"""Prompting: how references are shown to the models that read them, and how prompts fit into context windows."""
