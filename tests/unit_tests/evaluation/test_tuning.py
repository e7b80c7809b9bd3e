"""The search by replay: a policy replays what the mixture would answer; policies are chosen and reported conservatively."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_moa import ChatMoA
from langchain_moa.batch.limits import EvaluationError
from langchain_moa.data.documents import read_yaml
from langchain_moa.data.rows import RowError
from langchain_moa.evaluation.answer_table import AnswerTable, Sample, grade, guess_extract, read_recorded, short_answer
from langchain_moa.evaluation.questions import Question

np = pytest.importorskip("numpy", reason="the extra eval is not installed")
pytest.importorskip("scipy", reason="the extra eval is not installed")

from benchmarks.tuning import Pool, held_out  # noqa: E402  # it takes numpy
from langchain_moa.evaluation.policies import Policy, policies_of  # noqa: E402  # and so does this
from langchain_moa.evaluation.policy_replay import replay  # noqa: E402
from langchain_moa.evaluation.tuning import choose, judged, promise, tune  # noqa: E402
from langchain_moa.evaluation.tuning_report import config, document, page, sentences, yaml_text  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def table_of(rows: Any, scores: Any = None, *, cost: Sequence[float] | None = None) -> AnswerTable:
    """Make a table of answers: a number for each question and model, or `None` for a failed call."""
    questions = [Question(id=str(n), text=f"Question {n}?", answers=("0",)) for n in range(len(rows))]
    names = [f"m{place}" for place in range(len(rows[0]))]
    answers: dict[str, list[list[Sample]]] = {name: [] for name in names}
    for at, row in enumerate(rows):
        for place, (name, said) in enumerate(zip(names, row, strict=True)):
            score = float(said == 0) if scores is None else scores[at][place]
            short = None if said is None else str(said)
            answers[name].append([Sample(text=short, score=score, short=short, cost_usd=cost[place] if cost else None)])
    return AnswerTable.of(questions, answers, extract="number")


def drawn(right: Sequence[float], *, questions: int, seed: int = 0, apart: bool = True) -> list[list[int]]:
    """Draw independent answers of models with these accuracies; wrong answers differ, or are alike."""
    draw = random.Random(seed)  # noqa: S311  # a sample, not a secret
    return [
        [0 if draw.random() < share else 10 * (1 + apart * place) + draw.randrange(3) for place, share in enumerate(right)]
        for _ in range(questions)
    ]


@st.composite
def policies(draw: Any) -> tuple[Policy, list[int | None]]:
    """A policy of three or five models, and their answers."""
    kind = draw(st.sampled_from(["majority", "samples", "pair then third"]))
    size = 3 if kind == "pair then third" else draw(st.sampled_from([3, 5]))
    said = draw(st.lists(st.sampled_from([None, 1, 2, 3]), min_size=size, max_size=size).filter(any))
    models = (0,) * size if kind == "samples" else tuple(draw(st.permutations(range(size))))
    return Policy(kind, models), said


@settings(max_examples=40, deadline=None)
@given(chosen=policies(), cost=st.lists(st.integers(1, 9), min_size=5, max_size=5))
def test_what_is_replayed_is_what_the_written_mixture_answers(
    chosen: tuple[Policy, list[int | None]], cost: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    policy, said = chosen
    texts = [None if each is None else f"The answer is {each}." for each in said]
    # The score identifies the model that answered.
    samples = [
        Sample(text=text, score=place / 10, short=None if each is None else str(each), cost_usd=float(cost[place]))
        for place, (text, each) in enumerate(zip(texts, said, strict=True))
    ]
    questions = [Question(id="0", text="Question 0?", answers=("1",))]
    is_of_one = policy.kind == "samples"
    answers = {"m0": [samples]} if is_of_one else {f"m{place}": [[each]] for place, each in enumerate(samples)}
    table = AnswerTable.of(questions, answers, extract="number")
    replayed = replay(table, policy)
    path = tmp_path_factory.mktemp("replayed") / "answers.jsonl"
    recorded = {"m0": texts} if is_of_one else {f"m{place}": text for place, text in enumerate(texts)}
    path.write_text(json.dumps({"question": "Question 0?", "recorded": recorded}))
    tuning: Any = SimpleNamespace(table=table, chosen=SimpleNamespace(policy=policy))
    moa = ChatMoA(**config(tuning, {name: f"replay:{path}#{name}" for name in answers}), proposer_timeout=None)
    account = moa.invoke("Question 0?").response_metadata["moa"]
    selected, place = account["selected"], round(10 * replayed.scores[0])
    if is_of_one:
        rows: Any = moa.proposers
        assert rows[selected["layer"] - 1][selected["proposer"] - 1].settings["sample"] == place
    else:
        assert selected["name"] == f"replay:{path}#m{place}"
    assert account["calls"] == replayed.early[0]


@pytest.mark.parametrize(
    ("said", "early"),
    [
        ([1, 1, 2], 2),
        ([1, 2, 1], 3),
        # Whatever the third one answers, the first one wins by the order.
        ([1, None, 2], 2),
        ([1, 1, 1, 2, 2], 3),
        ([1, 1, 2, 1, 2], 4),
        ([1, 2, 3, 4, 4], 5),
    ],
)
def test_a_vote_is_decided_when_the_rest_cannot_change_it(said: list[int], early: float) -> None:
    replayed = replay(table_of([said]), Policy("majority", tuple(range(len(said)))))
    assert (replayed.calls[0], replayed.early[0]) == (len(said), early)


@given(said=st.lists(st.sampled_from([1, 2, 3]), min_size=5, max_size=5))
def test_calls_after_the_decision_would_change_nothing(said: list[int]) -> None:
    policy = Policy("majority", (0, 1, 2, 3, 4))
    scores = [[place / 10 for place in range(5)]]
    replayed = replay(table_of([said], scores), policy)
    made = round(replayed.early[0])
    winner = said[round(10 * replayed.scores[0])]
    for other in (1, 2, 3):
        changed = [*said[:made], *[other] * (5 - made)]
        assert changed[round(10 * replay(table_of([changed], scores), policy).scores[0])] == winner


def test_a_pair_and_then_a_third() -> None:
    table = table_of([[1, 1, 0], [1, 0, 0], [None, None, 0], [0, 1, None]], cost=[1, 2, 4])
    replayed = replay(table, Policy("pair then third", (0, 1, 2)))
    assert replayed.scores.tolist() == [0, 1, 1, 1]
    assert replayed.early.tolist() == [2, 3, 3, 3]
    assert replayed.costs.tolist() == [3, 7, 7, 7]


def test_samples_are_averaged_and_vote_among_themselves() -> None:
    questions = [Question(id="1", text="a?", answers=("0",))]
    one = [[Sample(text=each, score=float(each == "0"), short=each) for each in ("1", "0", "0")]]
    other = [[Sample(text="0", score=1.0, short="0")]]
    table = AnswerTable.of(questions, {"one": one, "other": other}, extract="number")
    assert replay(table, Policy("alone", (0,))).scores[0] == pytest.approx(2 / 3)
    assert replay(table, Policy("samples", (0, 0, 0))).scores[0] == 1
    assert [policy.kind for policy in policies_of(table)] == ["alone", "alone", "samples"]


def test_the_samples_of_a_model_count_the_same_however_many_another_has() -> None:
    questions = [Question(id=each, text=f"{each}?", answers=("0",)) for each in "ab"]
    answers = {
        str(len(said)): [[Sample(text=each, score=float(each == "0"), short=each, cost_usd=float(each)) for each in said]] * 2
        for said in ("0", "01", "001", "00001")
    }
    table = AnswerTable.of(questions, answers, extract="number")
    for each in judged(table, kinds=()):
        wrong = {"1": 0, "2": 1 / 2, "3": 1 / 3, "5": 1 / 5}[table.models[each.policy.models[0]]]
        assert each.score == pytest.approx(1 - wrong)
        assert each.cost_usd == pytest.approx(wrong)


def test_near_equal_models_that_err_apart_are_worth_a_majority() -> None:
    table = table_of(drawn([0.7] * 5, questions=200))
    found = tune(table)
    assert found.chosen.policy.kind == "majority"
    assert found.chosen.bound > 0
    # Five models with 70% accuracy and independent errors: a majority is right in more than 84%.
    assert found.promise.gain > 0.08
    assert found.promise.low > 0
    assert config(found, {name: f"replay:a.jsonl#{name}" for name in table.models})["aggregation"] == {
        "vote": {"extract": "number", "over": "all"}
    }


def test_a_far_better_model_is_used_alone() -> None:
    table = table_of(drawn([0.97, 0.5, 0.45, 0.4], questions=150, apart=False))
    found = tune(table)
    assert found.chosen == found.best
    assert sentences(found)[0].startswith("Use m0 alone: no mixture's gain over it, less one standard error, is above zero.")
    # One proposer, one layer, and an aggregation that calls nothing.
    fields = config(found, {"m0": "replay:a.jsonl#m0"})
    assert fields == {"proposers": ["replay:a.jsonl#m0"], "num_layers": 1, "aggregation": "vote"}


def test_what_is_promised_is_not_the_luck_of_the_choice() -> None:
    # Models that fail on the same questions, except for a random tenth: the luckiest mixture gains on its own questions.
    naive, promised = [], []
    for seed in range(4):
        draw = np.random.default_rng(seed)
        wrong = draw.random(60) < 0.4
        rows = (wrong[:, None] ^ (draw.random((60, 6)) < 0.1)).astype(int)
        found = tune(table_of(rows.tolist()), seed=seed)
        naive.append(max(each.gain for each in found.found))
        promised.append(found.promise.gain)
    assert np.mean(naive) > 0.01
    assert abs(np.mean(promised)) < np.mean(naive) / 2


def test_cheaper_is_chosen_by_a_bound_and_not_by_luck() -> None:
    rows = drawn([0.9, 0.9, 0.6], questions=100)
    table = table_of(rows, cost=[10, 1, 0.1])
    found = judged(table)
    assert choose(found, objective="price", tolerance=1.0).policy == Policy("alone", (2,))
    assert choose(found, objective="price", tolerance=0.1).policy.models == (1,)
    # Without a tolerance, it has to be as good with certainty.
    sure = choose(found, objective="price", tolerance=0.0)
    assert sure is found[0] or sure.bound >= 0


@pytest.mark.parametrize(("best", "is_advised"), [([0] * 40, False), ([0] * 35 + [1] * 5, True)])
def test_a_person_is_advised_only_where_the_best_model_is_less_often_right(best: list[int], is_advised: bool) -> None:
    # The three best models agree on the first thirty questions.
    rows = [[0, 0, 0] if n < 30 else [first, 0 if first and n % 2 else 3, 2] for n, first in enumerate(best)]
    said = " ".join(sentences(tune(table_of(rows))))
    assert "Where the three best models agree" in said
    assert ("Have a person check answers on which they disagree." in said) == is_advised


def test_the_same_seed_gives_the_same_result() -> None:
    table = table_of(drawn([0.7, 0.7, 0.7], questions=40))
    assert promise(table, seed=3) == promise(table, seed=3)
    assert promise(table, seed=3) != promise(table, seed=4)


def test_gaps_that_are_filled_are_told_apart() -> None:
    # The best one leaves every tenth question unanswered and is right on all others.
    rows = [[None if n % 10 == 0 else 0, 0 if n % 2 else 1, 0 if n % 2 else 1] for n in range(100)]
    rows = [[None, 0, 0] if n % 10 == 0 else row for n, row in enumerate(rows)]
    found = tune(table_of(rows))
    assert found.promise.questions_answered == 90
    assert found.promise.gain_answered <= 0
    said = " ".join(sentences(found))
    assert "Without the 10 questions that the best single model left unanswered" in said


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[0, 1]] * 19, r"too few questions \(19\); give at least 20"),
        ([[0]] * 30, "only one candidate, m0; give two or more"),
        ([[None, None]] * 30, "no candidate has an answer"),
    ],
)
def test_what_cannot_be_tuned_says_why(rows: Any, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        tune(table_of(rows))


def test_the_objective_price_names_what_it_lacks() -> None:
    with pytest.raises(EvaluationError, match="needs the prices of m0, m1; leave them out, or add cost_usd"):
        tune(table_of([[0, 1]] * 30), objective="price")


def test_a_call_that_failed_needs_no_price() -> None:
    questions = [Question(id=str(n), text=f"Question {n}?", answers=("0",)) for n in range(30)]
    one, other = ([[Sample(text="0", score=1.0, short="0", cost_usd=cost)] for _ in questions] for cost in (0.5, 0.25))
    other[7] = [Sample(text=None, score=0.0, short=None)]
    found = tune(AnswerTable.of(questions, {"one": one, "other": other}, extract="number"), objective="price", tolerance=0.1)
    assert found.chosen.policy.models == (1,)
    assert found.chosen.cost_usd == pytest.approx(0.25 * 29 / 30)


def test_hundreds_of_questions_and_of_of_policies_give_a_file_that_says_why() -> None:
    table = table_of(drawn([0.7] * 9, questions=400))
    found = tune(table)
    assert len(found.found) == 9 + 84 + 126 + 84
    specs = {name: f"replay:a.jsonl#{name}\n# key: x" for name in table.models}
    text = yaml_text(found, specs, source="a.jsonl\nb: c", when="2026-01-01")
    comments = [line for line in text.partition("\n\n")[0].splitlines() if not line.startswith("# ")]
    assert comments == []
    assert json.loads(document(found, specs, source="a.jsonl"))["chosen"]["kind"] == "majority"


@pytest.mark.parametrize("name", ["a\x1b[31m", "a\x07", "a\x85b", "a\u202eb", "a\ud800"])
def test_the_file_can_be_read_whatever_a_model_is_called(name: str) -> None:
    table = table_of(drawn([0.7] * 3, questions=60))
    found = tune(replace(table, models=[name, *table.models[1:]]))
    text = yaml_text(found, {each: each for each in found.table.models}, source="a.jsonl", when="2026-01-01")
    assert name in [each for layer in read_yaml(text)["proposers"] for each in layer]


def test_the_choice_is_in_sight_however_many_models_there_are() -> None:
    found = tune(table_of(drawn([0.7] * 20, questions=60)))
    assert found.chosen.policy.kind != "alone"
    html = page(found, title="Many", source="a.jsonl", yaml="", command="", picture=b"")
    shown, _, folded = html.partition("more mixtures</summary>")
    title = found.chosen.policy.title(found.table.models)
    assert f'<tr class="strong"><th scope="row">{title}</th>' in shown
    assert " alone</th>" not in folded.partition("</details>")[0]


@pytest.mark.parametrize(
    ("answers", "extract"),
    [
        (["18", "3.5", "$1,200", "-4", "50%"], "number"),
        (["1/2", "10:30", "1,000", "+3", "#4", "$18$", "7."], "number"),
        (["[1, 2]", "[3]", "(4)", "5"], "literal"),
        (["1, 2", "(3, 4)", "{5}"], "literal"),
        (["2 + 3", "1 2 3"], "text"),
        (["(1,2)", "2, 3", r"(1, \frac{1}{2})", "18"], "boxed"),
        (["A", "J", "C"], "letter"),
        (["18", r"\frac{1}{2}", "x^2"], "boxed"),
        (["[1, 2]", "'a'", "True", "{'a': 1}"], "literal"),
        (["Canberra", "Paris"], "text"),
        ([], "text"),
    ],
)
def test_how_answers_are_read_is_guessed_from_the_right_ones(answers: list[str], extract: str) -> None:
    assert guess_extract(answers) == extract


@pytest.mark.parametrize(
    ("extract", "one", "other"),
    [
        ("literal", "[1,2]", "The output is `[1.0, 2]`."),
        ("literal", "{'a': 1, 'b': (2,)}", "```python\n{'b': (2,), 'a': 1}\n```"),
        ("literal", "'a'", 'So the answer is "a".'),
        ("literal", "'a'", "a"),
        ("literal", "None", "null"),
        ("text", "Canberra", "Let me think.\nThe answer is **canberra**."),
        ("text", "New South Wales", "new  south wales!"),
    ],
)
def test_equal_answers_are_equal_however_they_are_written(extract: str, one: str, other: str) -> None:
    assert short_answer(one, extract) is not None
    assert short_answer(one, extract) == short_answer(other, extract)
    assert grade(other, Question(id="1", text="?", answers=(one,)), extract) == 1


@pytest.mark.parametrize("text", ["(" * 5000, "[" * 100_000, "1e999999", "", "x" * 20_000])
def test_texts_that_are_no_literals_cost_nothing(text: str) -> None:
    short_answer(text, "literal")
    assert short_answer("a sentence of its own\nand a second one", "literal") is None


def _recorded(path: Path, **more: Any) -> Path:
    rows = [
        {"question": f"What is {n} + 1?", "answer": n + 1, "recorded": {"a": f"It is {n + 1}.", "b": [str(n), None]}, **more}
        for n in range(30)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_recorded_answers_are_scored_by_the_right_ones(tmp_path: Path) -> None:
    table = read_recorded(_recorded(tmp_path / "a.jsonl", cost_usd={"a": 0.5, "b": [0.25, None]}))
    assert (table.extract, list(table.models), [len(each) for each in table.samples]) == ("number", ["a", "b"], [1, 2])
    assert table.scores.mean(axis=0).tolist() == [1, 0, 0]
    assert table.answered.mean(axis=0).tolist() == [1, 1, 0]
    assert table.costs[0, :2].tolist() == [0.5, 0.25]
    scored = read_recorded(_recorded(tmp_path / "b.jsonl", score={"a": 0, "b": [1, 0.5]}))
    assert scored.scores.mean(axis=0).tolist() == [0, 1, 0.5]


def test_a_single_cost_length_or_score_is_that_of_every_sample(tmp_path: Path) -> None:
    more = {"cost_usd": 0.5, "score": {"a": True, "b": 0.25}, "chars": 4}
    table = read_recorded(_recorded(tmp_path / "a.jsonl", **more))
    assert table.costs[0].tolist() == [0.5, 0.5, 0.5]
    assert table.scores[0].tolist() == [1, 0.25, 0.25]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"cost_usd": {"a": "free"}}, "'cost_usd' of 'a' must be a number of at least 0, or null"),
        ({"cost_usd": {"a": True}}, "'cost_usd' of 'a' must be a number of at least 0, or null"),
        ({"cost_usd": {"b": [1]}}, "'cost_usd' of 'b' must be a number of at least 0, or null, for each of its answers"),
        ({"chars": {"b": -1}}, "'chars' of 'b' must be"),
        ({"score": {"a": 50, "b": 1}}, "'score' of 'a' must be a number from 0 to 1, or null"),
        ({"score": {"a": "1", "b": 1}}, "'score' of 'a' must be a number from 0 to 1, or null"),
    ],
)
def test_a_value_of_a_recording_that_is_no_such_number_is_named(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(RowError, match=rf"a.jsonl, line 1: {said}"):
        read_recorded(_recorded(tmp_path / "a.jsonl", **more))


def test_recordings_that_do_not_fit_say_so(tmp_path: Path) -> None:
    path = _recorded(tmp_path / "a.jsonl")
    with pytest.raises(EvaluationError, match=r"--candidate c: .*a.jsonl has no answers of it; it has a, b"):
        read_recorded(path, candidates=["a", "c"])
    other = [Question(id="1", text="Why?", answers=("4",))]
    with pytest.raises(EvaluationError, match="has no answer to any of the questions in exactly the same words"):
        read_recorded(path, questions=other)
    path.write_text(json.dumps({"question": "Why?", "recorded": {"a": "4"}}))
    with pytest.raises(RowError, match="line 1: no right answer, and no recorded 'score'"):
        read_recorded(path)


def test_the_benchmark_compares_on_other_questions() -> None:
    pool = Pool("near equal", table_of(drawn([0.7] * 3, questions=120)))
    held = held_out(pool, 60, splits=3)
    assert np.mean(held.gains) > 2
    assert held.gains == held.answered
    assert all(early <= calls for early, calls in zip(held.early, held.calls, strict=True))
    far = Pool("far better", table_of(drawn([0.97, 0.5, 0.4], questions=120, apart=False)))
    assert held_out(far, 60, splits=3).alone == [True] * 3
    assert held_out(far, 60, splits=3).gains == [0.0] * 3
