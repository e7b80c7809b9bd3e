"""What callers of a server can set in the graph of `create_moa`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa import MoAContext, MoAError, create_moa

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

# As LangGraph's server sets it.
SERVED: Any = {"configurable": {"assistant_id": "1", "graph_id": "moa"}}
QUESTION: Any = {"messages": [("user", "Hi")]}


@pytest.mark.parametrize("field", ["model_kwargs", "aggregator_kwargs"])
@pytest.mark.parametrize("name", ["model", "extra_headers", "base_url", "tools"])
async def test_callers_choose_no_other_model_and_no_other_server(loopback: Loopback, chat: Chat, field: str, name: str) -> None:
    graph = create_moa([chat("a")], chat("agg"), num_layers=1).compile()
    contexts: list[Any] = [{field: {name: "dear"}}, MoAContext(**{field: {name: "dear"}})]  # type: ignore[arg-type]  # a field
    for context in contexts:
        with pytest.raises(MoAError, match=f"context: {field}: callers of a server may not set '{name}'"):
            await graph.ainvoke(QUESTION, SERVED, context=context)
    assert loopback.models == []


async def test_callers_set_how_models_sample(loopback: Loopback, chat: Chat) -> None:
    graph = create_moa([chat("a")], chat("agg"), num_layers=1).compile()
    context: Any = {"model_kwargs": {"temperature": 0.25, "max_tokens": 7}}
    await graph.ainvoke(QUESTION, SERVED, context=context)
    assert {call.body["temperature"] for call in loopback.calls("a")} == {0.25}
    # In your own program, you can set anything.
    await graph.ainvoke(QUESTION, context=MoAContext(aggregator_kwargs={"extra_headers": {"X-Mine": "1"}}))
    assert loopback.calls("agg")[-1].headers["x-mine"] == "1"
