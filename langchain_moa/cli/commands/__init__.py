"""The commands, one module each.

A module's `app` is a `typer.Typer`. Without a name its commands join those of `langchain-moa`; with a name it is a command
with subcommands. To add a command, add a module. All modules are imported for every `--help`, so import heavy packages inside
the functions.
"""
