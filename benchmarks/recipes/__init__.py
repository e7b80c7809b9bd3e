"""Recipes of docs/reproduce.md as scripts: the benchmarks' own tools judge answers of ours, with a judge on the loopback.

Each makes the virtual environment that its tool needs, in a folder of yours, which takes a network and minutes. They show that
the tools read what `eval generate` writes and that the commands of the page work. The figures mean nothing.

    python -m benchmarks.recipes.alpaca_eval FOLDER
    python -m benchmarks.recipes.flask FOLDER
    python -m benchmarks.recipes.mt_bench FOLDER
    python -m benchmarks.recipes.arena_hard FOLDER
"""
