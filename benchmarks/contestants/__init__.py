"""Implementations of the same mixture, 3 proposers in 2 layers and an aggregator, all calling one server.

Each module has `make(url, limit)`, which returns an object with `ask(question, system)` and, if it can stream, `stream` with
the same arguments, both sync or async. `limit` is the time limit of a call in seconds, or `None`. Modules of other packages run
in their own environments, so none of them imports this project.
"""
