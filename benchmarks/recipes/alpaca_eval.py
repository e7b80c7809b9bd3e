"""AlpacaEval 2.0's own tool judges a file of `eval generate`."""

from __future__ import annotations

import json
import shutil

from benchmarks.recipes.workshop import workshop

QUESTIONS = [
    {"instruction": f"Why is the sky {colour}?", "output": f"It is {colour} by scattering.", "dataset": "own"}
    for colour in ("blue", "red", "grey")
]

# The standard judge uses log probabilities. This one states which answer is better, like the tool's older judges.
JUDGE = """judge:
  prompt_template: "judge/prompt.txt"
  fn_completions: "openai_completions"
  completions_kwargs:
    model_name: "judge"
    max_tokens: 100
    temperature: 0
  fn_completion_parser: "ranking_parser"
  batch_size: 1
"""
PROMPT = """<|im_start|>user
{instruction}

model_1: {output_1}

model_2: {output_2}
<|im_end|>
"""


def main() -> None:
    verdict = "[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 2}]"
    with workshop(__doc__, judge=verdict) as (shop, given):
        python = shop.environment("alpaca-eval", "alpaca-eval==0.6.6", "datasets<4", "pandas<3")
        questions = given.questions
        if questions is None:
            questions = shop.folder / "alpaca_eval.json"
            questions.write_text(json.dumps([{**each, "generator": "baseline"} for each in QUESTIONS]))
        answers = shop.folder / "alpaca-moa.json"
        count = len(shop.generate("alpaca_eval", questions, answers, limit=given.limit))
        home = shop.run(python, "-c", "import alpaca_eval.constants as c; print(c.EVALUATORS_CONFIG_DIR)").splitlines()[-1]
        folder = shop.folder / "evaluators" / "judge"
        shutil.rmtree(folder, ignore_errors=True)  # the tool caches judgments there
        folder.mkdir(parents=True)
        (folder / "configs.yaml").write_text(JUDGE.replace("judge/prompt.txt", str(folder / "prompt.txt")))
        (folder / "prompt.txt").write_text(PROMPT)
        print(f"(the tool's own judges are in {home})")
        command = [python.parent / "alpaca_eval", "--model_outputs", answers, "--annotators_config", folder]
        # The length-controlled win rate needs a file from the Hugging Face Hub, and all 805 questions.
        rest = ["--reference_outputs", questions, "--fn_metric", "get_winrate", "--sort_by", "win_rate"]
        printed = shop.run(*command, *rest)
        print(printed)
        assert len(shop.server.calls("judge")) == count, "one judgment for each answer"


if __name__ == "__main__":
    main()
