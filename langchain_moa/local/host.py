"""The program of a model's server, which runs llama.cpp in its own process.

It is a process rather than a thread for three reasons. llama.cpp's binding holds the interpreter lock while it loads a model. A
crash of llama.cpp, for example on a broken file, must not end the caller. And only a process can set how its threads wait: they
must not use the processor, because two models may share the cores.

The program reads its settings, one line of JSON, from standard input, where other users of the machine cannot see the key. It
writes its address, one line of JSON, to standard output. It ends when its standard input is closed, which happens no matter how
its parent ends. It is run as a file, since importing the package would take longer than loading a model.
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
    """Serve a model until standard input is closed."""
    # Ctrl-C is sent to all processes of a terminal; the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = json.loads(sys.stdin.readline())
    # The library's own output goes to the log, so that the parent reads only the address.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = _serve(settings)
    answer.write(json.dumps({"address": server.listening_address}) + "\n")
    answer.flush()
    sys.stdin.read()
    # Skip the server's destructor: it can wait forever for a server that has only just started.
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
    # By default, llama.cpp caches up to 8 GB of prompts.
    params.cache_ram_mib = 0
    params.verbosity = _VERBOSITY
    params.ui = False
    params.endpoint_slots = False
    params.warmup = False
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads, cpu.poll = settings["threads"], 0
    if settings["template"] is not None:
        params.chat_template = settings["template"]
    # Fitting a model into the GPU's memory loads it twice, and a small model always fits.
    params.fit_params = not settings["small"]
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
