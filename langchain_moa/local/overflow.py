"""A conversation that is too long, in words."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import openai
from langchain_openai.chat_models.base import OpenAIContextOverflowError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def explained() -> Iterator[None]:
    """Say what llama.cpp means by the one error that a user can cause; LangChain's middleware knows the type."""
    try:
        yield
    except openai.BadRequestError as error:
        body = error.body if isinstance(error.body, dict) else {}
        if body.get("type") != "exceed_context_size_error":
            raise
        msg = (
            f"the conversation has {body.get('n_prompt_tokens')} tokens, and with the answer there is room for "
            f"{body.get('n_ctx')}; shorten it, with `langchain_core.messages.trim_messages` for one"
        )
        raise OpenAIContextOverflowError(msg, response=error.response, body=error.body) from error
