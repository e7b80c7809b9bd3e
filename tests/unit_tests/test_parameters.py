"""Common parameters with unusual values are passed on for the provider to reject; no call fails before it is sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import GenericFakeChatModel
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_moa.members.parameters import COMMON, spelled

VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
THINKING = (
    st.none()
    | st.text(max_size=3)
    | st.fixed_dictionaries(
        {"type": st.sampled_from(["enabled", "adaptive", "disabled", []])}, optional={"budget_tokens": VALUES}
    )
)


@pytest.mark.parametrize("name", ["BaseChatOpenAI", "ChatAnthropic", "ChatBedrockConverse", "ChatCohere", "ChatOllama"])
@given(call=st.dictionaries(st.sampled_from(COMMON), VALUES), thinking=THINKING)
def test_any_value_is_sent_or_recorded(name: str, call: dict[str, Any], thinking: Any) -> None:
    model = type(name, (GenericFakeChatModel,), {})(messages=iter(()))
    for bound in ({"thinking": thinking}, {"additionalModelRequestFields": {"thinking": thinking}}):
        sent = spelled(model, call, bound=bound)
        flat = {**sent.kwargs, **sent.kwargs.get("options", {}), **sent.kwargs.get("extra_body", {})}
        left_out = {each["parameter"] for each in sent.adjusted if each["sent"] is None}
        given_values = {key for key, value in call.items() if value is not None}
        assert len(flat.keys() - {"options", "extra_body"}) == len(given_values - left_out)


@pytest.mark.parametrize(
    ("url", "is_sent"),
    [
        (None, False),
        ("https://eu.api.openai.com/v1", False),
        ("https://mine.openai.azure.com/openai/v1", False),
        ("https://api.openai.com.example.org/v1", True),
        ("http://127.0.0.1:8000/v1", True),
    ],
)
def test_openai_itself_is_sent_no_top_k(url: str | None, is_sent: bool) -> None:
    sent = spelled(ChatOpenAI(model="gpt-4.1", api_key=SecretStr("none"), base_url=url), {"top_k": 5})
    assert sent.kwargs == ({"extra_body": {"top_k": 5}} if is_sent else {})
    assert [each["parameter"] for each in sent.adjusted] == ([] if is_sent else ["top_k"])
