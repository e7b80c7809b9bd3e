"""FastChat's MT-Bench, as the paper's code has it, judges a file of `eval generate`."""

from __future__ import annotations

from benchmarks.recipes.workshop import MOA, rows, workshop, write_rows

JUDGE = "gpt-4"


def main() -> None:
    with workshop(__doc__) as (shop, given):
        shop.server.script(JUDGE, "The answer is helpful. Rating: [[8]]")
        home = shop.clone(*MOA)
        python = shop.environment("fastchat", "-e", f"{home / 'FastChat'}[model-worker,llm-judge]", "pandas", "transformers<5")
        bench = home / "FastChat" / "fastchat" / "llm_judge" / "data" / "mt_bench"
        answers = home / "outputs" / "mt_bench" / "moa.jsonl"
        count = len(shop.generate("mt_bench", bench / "question.jsonl", answers, limit=given.limit))
        listed = bench / "question.jsonl"
        whole = rows(listed)
        (answers.parent / "model_judgment" / f"{JUDGE}_single.jsonl").unlink(missing_ok=True)  # the tool appends to it
        try:
            # The tool requires an answer to every question, so give it only the answered ones.
            write_rows(listed, whole[: given.limit])
            shop.run(python, "eval_mt_bench.py", "--model-list", "moa", "--parallel", "4", cwd=home)
        finally:
            write_rows(listed, whole)
        assert len(shop.server.calls(JUDGE)) == 2 * count, "one judgment for each turn"
        print(shop.run(python, "show_mt_bench_result.py", "--model-list", "moa", cwd=home))


if __name__ == "__main__":
    main()
