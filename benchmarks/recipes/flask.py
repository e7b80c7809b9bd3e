"""FLASK's evaluation, as the paper's code has it, judges a file of `eval generate`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from benchmarks.recipes.workshop import MOA, rows, workshop, write_rows

if TYPE_CHECKING:
    from tests.loopback.reply import Body

JUDGE = "gpt-4-0613"


def review(body: Body) -> str:
    """Score every skill in the prompt with four of five points."""
    skills = re.findall(r"^([A-Z][A-Za-z ]+): ", str(body["messages"][-1]["content"]), re.MULTILINE)
    scores: dict[str, Any] = {skill.lower(): 4 for skill in skills if not skill.startswith("Score")}
    return f"It is fine.\n{scores}"


def main() -> None:
    with workshop(__doc__) as (shop, given):
        shop.server.script(JUDGE, review)
        home = shop.clone(*MOA)
        python = shop.environment("flask", "openai", "shortuuid", "numpy", "pandas", "tqdm", "tenacity")
        # The tool requires an answer to every question, so give it only the answered ones.
        questions = shop.folder / "flask-questions.jsonl"
        listed = given.questions or home / "FLASK" / "evaluation_set" / "flask_evaluation.jsonl"
        write_rows(questions, rows(listed)[: given.limit])
        answers = shop.folder / "outputs" / "flask" / "moa.jsonl"
        count = len(shop.generate("flask", questions, answers, limit=given.limit))
        out = answers.with_name("moa_review.jsonl")
        out.unlink(missing_ok=True)  # the tool appends to it
        folder = home / "FLASK" / "gpt_review"
        files = ["-q", questions, "-a", answers, "-o", out, "-e", answers.with_name("moa_error.jsonl")]
        shop.run(python, "gpt4_eval.py", *files, cwd=folder)
        assert len(rows(out)) == count, "one review for each answer"
        assert all(each["score"] for each in rows(out)), "every review has scores that the tool could read"
        shop.run(python, "aggregate_skill.py", "-m", out, cwd=folder)
        print((folder / "outputs" / "stats" / "moa_review_skill.csv").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
