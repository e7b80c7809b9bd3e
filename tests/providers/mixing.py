"""Guarantees for every mixture of providers, checked on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage

from tests.providers.asking import ask, multiply, run_tools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import AIMessage, BaseMessage

    from langchain_moa import ChatMoA
    from tests.providers import ProviderServer

QUESTIONS = (
    ("What is 6 times 7?", "42"),
    ("And 3 times 5?", "15"),
    ("And 2 times 9?", "18"),
    ("And 4 times 8?", "32"),
    ("And 7 times 9?", "63"),
    ("And 5 times 5?", "25"),
)


async def converse(
    moa: ChatMoA,
    providers: ProviderServer,
    *,
    turns: int,
    mode: str,
    tools: bool = False,
    history: Sequence[BaseMessage] = (),
) -> tuple[list[BaseMessage], list[str]]:
    """Run a conversation with the full history, and return it with the broken guarantees, one line each."""
    messages, problems = list(history), []
    model: Any = moa.bind_tools([multiply]) if tools else moa
    for turn, (question, result) in enumerate(QUESTIONS[:turns], 1):
        messages.append(HumanMessage(question))
        answer, found = await ask_once(model, moa, providers, messages, mode)
        problems += [f"turn {turn}: {each}" for each in found]
        messages.append(answer)
        if tools:
            if [call["name"] for call in answer.tool_calls] != ["multiply"]:
                problems.append(f"turn {turn}: tool calls: {answer.tool_calls}")
                break
            messages += run_tools(answer)
            answer, found = await ask_once(model, moa, providers, messages, mode)
            problems += [f"turn {turn}, after the tool: {each}" for each in found]
            messages.append(answer)
            if result not in answer.text:
                problems.append(f"turn {turn}: the answer does not hold the result: {answer.text!r}")
    return messages, problems


async def ask_once(
    model: Any, moa: ChatMoA, providers: ProviderServer, messages: Sequence[BaseMessage], mode: str
) -> tuple[AIMessage, list[str]]:
    """Ask a mixture once, and return its answer with the broken guarantees."""
    before, leaks, refused = len(providers.requests), len(providers.leaks()), len(providers.rules)
    try:
        answer = await ask(model, messages, mode)
    except Exception as problem:
        problem.add_note(f"refused: {[str(request.refused) for request in providers.refused[refused:]]}")
        raise
    problems = [f"refused by {each.vendor}: {each.refused}" for each in providers.refused[refused:]]
    problems += [f"leak: {leak}" for leak in providers.leaks()[leaks:]]
    account = answer.response_metadata.get("moa")
    if account is None:
        return answer, [*problems, "no account: response_metadata has no 'moa'"]
    entries = [entry for layer in account["layers"] for entry in layer]
    problems += [f"proposal failed: {each['name']}: {each.get('error')}" for each in entries if each["status"] != "ok"]
    planned = sum(len(moa.proposers) for _ in range(moa.num_layers))
    if len(entries) != planned:
        problems.append(f"proposal lost: {len(entries)} of {planned} proposals")
    made = providers.requests[before:]
    if len(made) != planned + 1:
        problems.append(f"calls: {len(made)} were made, not {planned + 1}")
    problems += usage_problems(answer, [request.tokens or (0, 0) for request in made])
    return answer, problems


def usage_problems(answer: AIMessage, calls: Sequence[tuple[int, int]]) -> list[str]:
    """Compare what an answer reports with the tokens of the calls made for it, of which the last is the aggregator's."""
    problems = []
    spent = sum(given for given, _ in calls), sum(written for _, written in calls)
    if (told := tokens_of(answer.response_metadata["moa"].get("usage"))) != spent:
        problems.append(f"usage: the sum is {told}, and the calls took {spent}")
    if (own := tokens_of(answer.usage_metadata)) != calls[-1]:
        problems.append(f"usage: usage_metadata is {own}, and the aggregator's call took {calls[-1]}")
    return problems


def tokens_of(usage: Any) -> tuple[int, int] | None:
    """Return the input and output tokens of a usage."""
    return (int(usage["input_tokens"]), int(usage["output_tokens"])) if usage else None
