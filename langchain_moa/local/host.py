"""The program of a model's server: llama.cpp in a process of its own.

A process of its own, and not a thread: while it loads a model, llama.cpp's binding holds the interpreter lock, so that an event
loop would stand still; what kills it, a broken file for one, does not kill its user; and only there can its threads be told to
wait without spinning, on which two models on the same cores depend.

It reads its settings, one line of JSON, from the standard input, where no other user of the machine sees the key; writes its
address, one line of JSON, to the standard output; and ends when its input does, which it does when its parent ends, however.
It is run as a file, since importing the package would take longer than loading a model.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

# Errors only.
_VERBOSITY = 1


def main() -> None:
    """Serve a model until the standard input ends."""
    # Ctrl-C goes to all processes of a terminal, and is for the parent to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = json.loads(sys.stdin.readline())
    # What the library prints of itself goes to the log; the parent gets the answer and nothing else.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = _serve(settings)
    answer.write(json.dumps({"address": server.listening_address}) + "\n")
    answer.flush()
    sys.stdin.read()
    # Not by way of the server's destructor: it waits forever for a server that has hardly started.
    os._exit(0)


def _serve(settings: dict[str, Any]) -> Any:
    sys.path[:] = settings["import_path"]
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {settings["name"]}
    params.hostnames = ["127.0.0.1"]
    params.api_keys = [settings["key"]]
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["context"]
    # By default it keeps up to 8 GB of old prompts.
    params.cache_ram_mib = 0
    params.verbosity = _VERBOSITY
    params.ui = False
    params.endpoint_slots = False
    params.warmup = False
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads, cpu.poll = settings["threads"], 0
    if settings["template"] is not None:
        params.chat_template = settings["template"]
    # To fit a model into a graphics card's memory is to load it twice; a small one fits.
    params.fit_params = not settings["small"]
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
