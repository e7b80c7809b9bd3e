"""The commands, one module each.

A module's `app` is a `typer.Typer`. If it has no name, its commands are added to `langchain-moa`; if it has a name, it becomes
a command with subcommands. To add a command, add a module. Every `--help` imports all modules, so import heavy packages inside
functions.
"""
