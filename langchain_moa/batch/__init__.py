"""Many prompts: rows from a file, each answered once, with a journal of every call that was paid for."""
