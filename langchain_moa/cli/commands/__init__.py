"""The commands, a file each.

A module's `app` is a `typer.Typer`: without a name its commands join those of `langchain-moa`, with one it is a command that
has commands of its own. To add a command, add a file. Modules are imported for every `--help`, so what is heavy is imported
inside the functions.
"""
