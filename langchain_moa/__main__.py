"""`python -m langchain_moa`: the command line without its script on the path."""

from __future__ import annotations

from langchain_moa.cli import main

if __name__ == "__main__":
    main()
