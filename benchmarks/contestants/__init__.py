"""The same mixture by different means: 3 proposers in 2 layers and an aggregator, all asked at one server.

Each module has `make(url, limit)`, which returns an object with `ask(question, system)` and, where it can stream, `stream` with
the same arguments; both plain or async. `limit` is the seconds that a call may take, or `None`. The modules of other packages
run in environments of their own, so none of them imports anything of this project.
"""
