"""Arena-Hard-Auto's own scripts judge a file of `eval generate`."""

from __future__ import annotations

import shutil

from benchmarks.recipes.workshop import rows, workshop, write_rows

ARENA = ("https://github.com/lmarena/arena-hard-auto", "196f6b8")
BENCH = "arena-hard-v0.1"
JUDGE = "gpt-4-1106-preview"
BASELINE = "gpt-4-0314"


def main() -> None:
    with workshop(__doc__) as (shop, given):
        shop.server.script(JUDGE, "Assistant B is better: [[B>A]]")
        home = shop.clone(*ARENA)
        # Its requirements conflict with ours; `show_result.py` also needs torch.
        python = shop.environment("arena-hard", "-r", str(home / "requirements.txt"), "torch")
        data = home / "data" / BENCH
        questions = data / "question.jsonl"
        data.mkdir(parents=True, exist_ok=True)
        listed = rows(given.questions or questions) if (given.questions or questions).exists() else _own()
        write_rows(questions, listed[: given.limit])
        shutil.rmtree(data / "model_judgment", ignore_errors=True)  # otherwise the tool skips existing judgments
        answers = data / "model_answer"
        count = len(shop.generate("arena_hard", questions, answers / "moa.jsonl", limit=given.limit))
        # The baseline of the comparison; the real one comes with the questions.
        baseline = [{**row, "model": BASELINE} for row in rows(answers / "moa.jsonl")]
        write_rows(answers / f"{BASELINE}.jsonl", baseline)
        config = home / "config" / f"{BENCH}.yaml"
        config.write_text(config.read_text().replace("- deepseek-r1", "- moa"))
        shop.run(python, "gen_judgment.py", "--setting-file", f"config/{BENCH}.yaml", cwd=home)
        assert len(shop.server.calls(JUDGE)) == 2 * count, "two judgments for each answer, with places exchanged"
        shown = ["--benchmark", BENCH, "--judge-names", JUDGE, "--category", BENCH]
        print(shop.run(python, "show_result.py", *shown, cwd=home))


def _own() -> list[dict[str, str]]:
    texts = [f"Why is the sky {colour}?" for colour in ("blue", "red", "grey")]
    return [{"uid": f"own{number}", "category": BENCH, "subcategory": "", "prompt": text} for number, text in enumerate(texts)]


if __name__ == "__main__":
    main()
