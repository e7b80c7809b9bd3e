"""Accounts: the calls of an answer as plain data, with their tokens, seconds and US dollars."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata, add_usage
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_moa.data.reference import Reference, Step


# More tokens than any call has. Larger counts are not counts, and their cost would not be a finite number.
_MOST_TOKENS = 10**12

_OF_STEP = ("node", "name", "model", "status", "seconds", "usage", "cost_usd", "error", "trimmed", "sent")


class Paid(TypedDict):
    """The usage and cost of a call.

    Attributes:
        usage: The tokens, or `None` if the provider did not report them.
        cost_usd: The cost in US dollars, or `None` if it is unknown.
    """

    usage: UsageMetadata | None
    cost_usd: float | None


def account(
    references: Sequence[Reference],
    aggregator: Mapping[str, Any] | None,
    *,
    steps: Sequence[Step] = (),
    selected: Mapping[str, Any] | None = None,
    stopped: str | None,
    passed_on: Sequence[Sequence[int]] | None = None,
    notes: Mapping[str, Any] | None = None,
    adjusted: Sequence[Mapping[str, Any]] = (),
    author: str | None = None,
) -> dict[str, Any]:
    """Return the account of an answer, which becomes its `response_metadata["moa"]`.

    Args:
        references: All references of the turn.
        aggregator: The entry of the aggregator's call: name, model, status, seconds, usage, cost_usd. `None` if the aggregator
            wrote nothing.
        steps: The other calls of the turn.
        selected: The origin of the answer, if it is one of the references.
        stopped: Why the remaining layers were skipped, or `None`.
        passed_on: For each layer, the proposers whose references were read, in order; `None` if there are no filters.
        notes: Further results of the aggregation, which are added as they are.
        adjusted: The parameters that were changed or not sent, for each member.
        author: The identity of the model that wrote the answer.

    Returns:
        Plain data with these keys, of which all but `layers`, `aggregator` and `calls` may be missing:

        - `layers`: For each layer, the list of its proposers' calls.
        - `aggregator`: The aggregator's call, or `None`.
        - `steps`: The other calls.
        - `calls`: The number of calls that were sent.
        - `usage`: The tokens of all calls, as far as the providers reported them.
        - `uncounted`: The number of successful calls without reported tokens.
        - `cost_usd`: The cost of all calls, if the cost of each call that succeeded or reported tokens is known. Failed calls
          without reported tokens are taken to cost nothing.
        - `author`, `adjusted`, `selected`, `stopped`, `passed_on` and the keys of `notes`, as given.
    """
    kept = ("proposer", "name", "model", "status", "seconds", "usage", "cost_usd", "error", "trimmed", "check", "sent")
    entries: list[list[dict[str, Any]]] = []
    for reference in references:
        while len(entries) < reference["layer"]:
            entries.append([])
        entry = {key: reference[key] for key in kept if reference.get(key) is not None}  # type: ignore[literal-required]  # keys of the TypedDict
        entries[-1].append(_priced(entry))
    last = None if aggregator is None else _priced({key: value for key, value in aggregator.items() if value is not None})
    others = [_priced({key: step[key] for key in _OF_STEP if step.get(key) is not None}) for step in steps]  # type: ignore[literal-required]  # keys of the TypedDict
    moa: dict[str, Any] = {"layers": entries, "aggregator": last}
    if others:
        moa["steps"] = others
    calls = calls_of(moa)
    moa["calls"] = sum(call.get("sent", True) for call in calls)
    optional = {
        "usage": total_usage(moa),
        "author": author,
        "adjusted": [dict(each) for each in adjusted] or None,
        "selected": None if selected is None else dict(selected),
        "stopped": stopped or None,
        "passed_on": None if passed_on is None else [list(layer) for layer in passed_on],
    }
    moa |= {name: value for name, value in optional.items() if value is not None}
    moa |= notes or {}
    if uncounted := sum(call["status"] == "ok" and not call.get("usage") for call in calls):
        moa["uncounted"] = uncounted
    paid = [call.get("cost_usd") for call in calls if call["status"] == "ok" or call.get("usage")]
    costs = [cost for cost in paid if cost is not None]
    if paid and len(costs) == len(paid):
        moa["cost_usd"] = sum(costs)
    return moa


def counted(usage: Any) -> UsageMetadata | None:
    """Return validated usage: counts that are not valid numbers are dropped.

    Args:
        usage: The `usage_metadata` of a message. Some clients pass on what the server sent without validation.

    Returns:
        The usage, or `None` without valid counts of input and output tokens.
    """
    if not isinstance(usage, dict):
        return None
    totals = [_count(usage.get(name)) for name in ("input_tokens", "output_tokens")]
    if None in totals:
        return None
    given, written = (total or 0 for total in totals)
    made = UsageMetadata(
        input_tokens=given, output_tokens=written, total_tokens=_count(usage.get("total_tokens")) or given + written
    )
    if (details := _details(usage.get("input_token_details"))) is not None:
        made["input_token_details"] = InputTokenDetails(**details)  # type: ignore[typeddict-item]  # providers add names
    if (details := _details(usage.get("output_token_details"))) is not None:
        made["output_token_details"] = OutputTokenDetails(**details)  # type: ignore[typeddict-item]  # providers add names
    return made


def with_counts(message: AIMessage) -> AIMessage:
    """Return a message with validated usage.

    Args:
        message: The message. It is copied if its usage is not valid.
    """
    if (usage := counted(message.usage_metadata)) == message.usage_metadata:
        return message
    return message.model_copy(update={"usage_metadata": usage})


def _details(details: Any) -> dict[str, int] | None:
    if not isinstance(details, dict):
        return None
    return {name: count for name, value in details.items() if (count := _count(value)) is not None} or None


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MOST_TOKENS:
        return None
    return int(value)


def total_usage(moa: Mapping[str, Any]) -> UsageMetadata | None:
    """Return the tokens of all calls of an account, or `None` if no provider reported any."""
    total: UsageMetadata | None = None
    for call in calls_of(moa):
        if call.get("usage"):
            total = add_usage(total, call["usage"])
    return total


def spent_usd(calls: Sequence[Reference | Step]) -> float:
    """Return the cost of calls in US dollars. Calls of unknown cost count as 0.

    Args:
        calls: References and steps.
    """
    return sum(cost for cost in map(cost_of_call, calls) if cost is not None)


def cost_of_call(call: Mapping[str, Any]) -> float | None:
    """Return the cost of a call in US dollars, or `None` if it is unknown.

    Args:
        call: A reference, a step, or an entry of an account. A recorded `cost_usd` overrides the price of its model.
    """
    known: float | None = call.get("cost_usd")
    usage = call.get("usage")
    return cost_usd(call["model"], usage) if known is None and usage else known


def cost_of_messages(messages: Iterable[Any]) -> float | None:
    """Return the cost of messages in US dollars, by the models that are recorded in their `response_metadata`.

    Args:
        messages: The messages of one answer. The cost of a mixture's message is taken from its account.

    Returns:
        The cost; `None` if no message has a cost, or if the model or price of a message with usage is unknown.
    """
    written = (message for message in messages if isinstance(message, AIMessage))
    costs = [_cost_of_message(each) for each in written if each.usage_metadata or "moa" in each.response_metadata]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known and len(known) == len(costs) else None


def _cost_of_message(message: AIMessage) -> float | None:
    said = message.response_metadata
    if (known := said.get("cost_usd")) is not None:
        return float(known)  # set in recorded answers that are replayed
    if "moa" in said:
        cost: float | None = said["moa"].get("cost_usd")
        return cost
    model = f"{said.get('model_provider')}:{said.get('model_name') or said.get('model')}"
    usage = counted(message.usage_metadata)
    return None if usage is None else cost_usd(model, usage)


def cost_usd(model: str, usage: UsageMetadata) -> float | None:
    """Return the cost of a call in US dollars, or `None` if it is unknown.

    Args:
        model: The model id, `provider:model`.
        usage: The tokens of the call.

    Returns:
        The cost; `None` if genai-prices does not know the model, or if the counts contradict each other.
    """
    if not _is_priced(model):
        return None
    import genai_prices

    provider, _, name = model.partition(":")
    details = usage.get("input_token_details") or {}
    tokens = genai_prices.Usage(
        input_tokens=usage["input_tokens"],
        output_tokens=usage["output_tokens"],
        cache_read_tokens=details.get("cache_read"),
        cache_write_tokens=details.get("cache_creation"),
    )
    try:
        return float(genai_prices.calc_price(tokens, model_ref=name, provider_id=provider).total_price)
    except ValueError:  # more tokens from the cache than input tokens, as some servers report
        return None


def unpriced(models: Iterable[str]) -> list[str]:
    """Return the models with unknown prices, sorted and without duplicates. Models of the `local:` provider cost nothing.

    Args:
        models: Model ids.
    """
    return sorted({model for model in models if not model.startswith("local:") and not _is_priced(model)})


def _is_priced(model: str) -> bool:
    provider, _, name = model.partition(":")
    return bool(name) and _price_known(provider, name)


@cache
def _price_known(provider: str, name: str) -> bool:
    """Return whether there is a price for a model. Cached, because a miss searches the whole table."""
    import genai_prices

    try:
        genai_prices.calc_price(genai_prices.Usage(input_tokens=1, output_tokens=1), model_ref=name, provider_id=provider)
    except LookupError:
        return False
    return True


def calls_of(moa: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all calls of an account: those of the layers, the steps, and the aggregator's."""
    calls = [*(entry for layer in moa["layers"] for entry in layer), *moa.get("steps", ()), moa["aggregator"]]
    return [call for call in calls if call is not None]


def _priced(call: dict[str, Any]) -> dict[str, Any]:
    cost = cost_of_call(call)
    return call if cost is None else {**call, "cost_usd": cost}
