"""The command line as `python -m langchain_moa`, for environments whose scripts are not on `PATH`."""

from __future__ import annotations

from langchain_moa.cli import main

if __name__ == "__main__":
    main()
