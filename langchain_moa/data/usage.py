"""What an answer took: its calls as plain data, tokens, seconds and dollars, by layer and proposer."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata, add_usage
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_moa.data.reference import Reference, Step


_OF_STEP = ("node", "name", "model", "status", "seconds", "usage", "cost_usd", "error", "trimmed", "sent")


class Paid(TypedDict):
    """What a call has taken.

    Attributes:
        usage: Its tokens; `None` if they were not counted.
        cost_usd: Its dollars, `None` where they are not known.
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
    """Break an answer down by call.

    Args:
        references: Every reference of the turn.
        aggregator: The aggregator's entry: name, model, status, seconds, usage, cost_usd; `None` if it wrote nothing.
        steps: The other calls of the turn.
        selected: Where the answer comes from, if it is one of the references.
        stopped: Why the layers ended early, if they did.
        passed_on: The proposers of each layer whose references were read, in that order, if a filter chose them.
        notes: What else the aggregation says of the answer; it is added as it is.
        adjusted: The parameters that members were not sent as they were given.
        author: What tells the model that wrote the answer from all others.

    Returns:
        Plain data: `layers` (a list of calls for each), `steps` (the other calls, where there are any), `aggregator`, `calls`
        (how many were made), `usage` (the tokens of all calls, where any were counted), `author` and `adjusted` where they
        are given, `selected` where the answer is a reference, `stopped` where the layers ended early, `passed_on` where there
        are filters, `uncounted` where the tokens of so many successful calls were not counted, so that the sum of all tokens
        is less than was used, and `cost_usd` where the price of every call is known that was answered or counted: one that
        failed without a word of its tokens counts as nothing, and stands there as failed.
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
    """Return the tokens that a server has counted, as far as they are numbers; `None` where the totals are not.

    Args:
        usage: The `usage_metadata` of a message, which some clients pass on as the server has sent it.
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


def _details(details: Any) -> dict[str, int] | None:
    if not isinstance(details, dict):
        return None
    return {name: count for name, value in details.items() if (count := _count(value)) is not None} or None


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        return None
    return int(value)


def total_usage(moa: Mapping[str, Any]) -> UsageMetadata | None:
    """Return the tokens of all calls of a breakdown, `None` where no provider counted any."""
    total: UsageMetadata | None = None
    for call in calls_of(moa):
        if call.get("usage"):
            total = add_usage(total, call["usage"])
    return total


def spent_usd(calls: Sequence[Reference | Step]) -> float:
    """Return what calls have cost, in US dollars; one whose price is not known counts as nothing.

    Args:
        calls: References and steps.
    """
    return sum(cost for cost in map(cost_of_call, calls) if cost is not None)


def cost_of_call(call: Mapping[str, Any]) -> float | None:
    """Return what a call has cost, in US dollars, `None` where that is not known.

    Args:
        call: A reference, a step, or an entry of an account: what its own messages say overrides the price of its model.
    """
    known: float | None = call.get("cost_usd")
    usage = call.get("usage")
    return cost_usd(call["model"], usage) if known is None and usage else known


def cost_of_messages(messages: Iterable[Any]) -> float | None:
    """Return what messages have cost, in US dollars, by the models that they say have written them.

    Args:
        messages: Those of one answer; the answers of mixtures have accounts of their own.

    Returns:
        The dollars; `None` where a message was paid for and does not say by whom it is, or no price is known.
    """
    written = (message for message in messages if isinstance(message, AIMessage))
    costs = [_cost_of_message(each) for each in written if each.usage_metadata or "moa" in each.response_metadata]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known and len(known) == len(costs) else None


def _cost_of_message(message: AIMessage) -> float | None:
    said = message.response_metadata
    if (known := said.get("cost_usd")) is not None:
        return float(known)  # recorded answers that are replayed say what they cost
    if "moa" in said:
        cost: float | None = said["moa"].get("cost_usd")
        return cost
    model = f"{said.get('model_provider')}:{said.get('model_name') or said.get('model')}"
    usage = counted(message.usage_metadata)
    return None if usage is None else cost_usd(model, usage)


def cost_usd(model: str, usage: UsageMetadata) -> float | None:
    """Return what a call cost, in US dollars, where genai-prices knows the model; `None` where it does not.

    Args:
        model: The model id, `provider:model`.
        usage: The call's tokens.
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
    return float(genai_prices.calc_price(tokens, model_ref=name, provider_id=provider).total_price)


def unpriced(models: Iterable[str]) -> list[str]:
    """Return the models whose price is not known, sorted; local models cost nothing.

    Args:
        models: Model ids.
    """
    return sorted({model for model in models if not model.startswith("local:") and not _is_priced(model)})


def _is_priced(model: str) -> bool:
    provider, _, name = model.partition(":")
    return bool(name) and _price_known(provider, name)


@cache
def _price_known(provider: str, name: str) -> bool:
    """Tell whether there is a price; asked once a model, since a miss searches the whole table."""
    import genai_prices

    try:
        genai_prices.calc_price(genai_prices.Usage(input_tokens=1, output_tokens=1), model_ref=name, provider_id=provider)
    except LookupError:
        return False
    return True


def calls_of(moa: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every call of a breakdown, in the order in which they were made."""
    calls = [*(entry for layer in moa["layers"] for entry in layer), *moa.get("steps", ()), moa["aggregator"]]
    return [call for call in calls if call is not None]


def _priced(call: dict[str, Any]) -> dict[str, Any]:
    cost = cost_of_call(call)
    return call if cost is None else {**call, "cost_usd": cost}
