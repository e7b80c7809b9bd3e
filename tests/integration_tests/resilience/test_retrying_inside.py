"""Retries at the wire for members of every kind: they never multiply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableSequence

from langchain_moa import ChatMoA, MoAError, Proposer, Retry, create_moa
from tests.loopback import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.runnables import Runnable
    from langchain_openai import ChatOpenAI

    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

AT_ONCE = Retry(attempts=3, initial=0)
BROKEN = Reply("our fault", status=500, headers={"retry-after-ms": "1"})
WRONG = Reply("wrong request", status=400)


def chain(model: Any) -> Runnable[Any, Any]:
    return RunnableSequence(RunnableLambda(lambda messages: messages), model, StrOutputParser())


def by_name(model: ChatOpenAI) -> Any:
    client: Any = {"http_client": model.http_client, "http_async_client": model.http_async_client}
    given: Any = {"base_url": model.openai_api_base, "api_key": "test", "max_retries": model.max_retries, **client}
    return init_chat_model("openai:m", configurable_fields=("temperature",), **given)


# How a model becomes a member, and whether the mixture's own policy applies to it.
SHAPES: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "model": (lambda model: model, True),
    "binding": (lambda model: model.bind(stop=["x"]), True),
    "fallbacks": (lambda model: model.with_fallbacks([model]), True),
    "configurable": (lambda model: model.configurable_fields(temperature=ConfigurableField("temperature")), True),
    "alternatives": (lambda model: model.configurable_alternatives(ConfigurableField("which"), other=model), True),
    "by name": (by_name, False),
    "chain": (chain, False),
    "chain with fallbacks": (lambda model: chain(model).with_fallbacks([chain(model)]), False),
    "agent": (lambda model: create_agent(model, []), False),
}


def asked(shape: str) -> int:
    """The number of models that one attempt calls if all of them fail with transient errors."""
    return 2 if "fallbacks" in shape else 1


def requests(loopback: Loopback, chat: Chat, member: Any, reply: Reply = BROKEN) -> int:
    """Ask a mixture with a policy, and count the requests of its member."""
    loopback.script("m", reply)
    ChatMoA(proposers=[chat("good"), member], aggregator=chat("agg"), num_layers=1, retry=AT_ONCE).invoke("Hi")
    return len(loopback.calls("m"))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mixtures_policy_is_for_chat_models_that_do_not_try_again(loopback: Loopback, chat: Chat, shape: str) -> None:
    make, is_chat_model = SHAPES[shape]
    assert requests(loopback, chat, make(chat("m"))) == asked(shape) * (3 if is_chat_model else 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_members_own_policy_is_for_whatever_does_not_try_again(loopback: Loopback, chat: Chat, shape: str) -> None:
    make, _ = SHAPES[shape]
    assert requests(loopback, chat, Proposer(make(chat("m")), retry=AT_ONCE)) == asked(shape) * 3


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "agent"])
def test_what_tries_again_by_itself_gets_no_policy_beside(loopback: Loopback, chat: Chat, shape: str) -> None:
    make, _ = SHAPES[shape]
    member = make(chat("m", max_retries=1))
    with pytest.raises(ValueError, match="retries by itself"):
        ChatMoA(proposers=[Proposer(member, retry=AT_ONCE)], aggregator=chat("agg"))
    assert requests(loopback, chat, member) == asked(shape) * 2


def test_the_models_of_an_agent_are_not_looked_for(loopback: Loopback, chat: Chat) -> None:
    member = create_agent(chat("m", max_retries=1), [])
    assert requests(loopback, chat, Proposer(member, retry=AT_ONCE)) == 2 * 3


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_tried_again_by_a_wrapper_gets_no_policy_beside(loopback: Loopback, chat: Chat, shape: str) -> None:
    make, _ = SHAPES[shape]
    member = make(chat("m")).with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    with pytest.raises(ValueError, match="retries by itself"):
        ChatMoA(proposers=[Proposer(member, retry=AT_ONCE)], aggregator=chat("agg"))
    assert requests(loopback, chat, member) == asked(shape) * 2


def test_a_fallback_that_tries_again_counts_as_well(loopback: Loopback, chat: Chat) -> None:
    member = chat("m").with_fallbacks([chat("m", max_retries=1)])
    with pytest.raises(ValueError, match="retries by itself"):
        ChatMoA(proposers=[Proposer(member, retry=AT_ONCE)], aggregator=chat("agg"))
    assert requests(loopback, chat, member) == 1 + 2


@pytest.mark.parametrize("shape", SHAPES)
def test_a_wrong_request_is_sent_once(loopback: Loopback, chat: Chat, shape: str) -> None:
    make, _ = SHAPES[shape]
    assert requests(loopback, chat, Proposer(make(chat("m")), retry=AT_ONCE), WRONG) == asked(shape)


def test_with_retry_repeats_the_whole_mixture(loopback: Loopback, chat: Chat) -> None:
    loopback.script("agg", [BROKEN, BROKEN, Reply("the answer")])
    moa = ChatMoA(proposers=[chat("a"), chat("b")], aggregator=chat("agg"), num_layers=1)
    patient = moa.with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    assert patient.invoke("Hi").text == "the answer"
    assert sorted(loopback.models) == ["a"] * 3 + ["agg"] * 3 + ["b"] * 3


def test_the_policies_of_a_mixture_inside_are_its_own(loopback: Loopback, chat: Chat) -> None:
    loopback.script("m", BROKEN)
    inner: Any = {"proposers": [chat("m", max_retries=1)], "aggregator": chat("inner"), "num_layers": 1}
    for member in (ChatMoA(**inner), create_moa(**inner).compile()):
        before = len(loopback.calls("m"))
        with pytest.raises(MoAError):
            ChatMoA(proposers=[member], aggregator=chat("agg"), num_layers=1, retry=AT_ONCE).invoke("Hi")
        assert len(loopback.calls("m")) - before == 2
