"""Models for mixtures with any strategies: each text names its author and what it read, and each decision is made."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from tests.loopback import Reply
from tests.loopback.recorded import last_user_text, text_of
from tests.loopback.reply import Usage

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.recorded import Recorded
    from tests.loopback.reply import Body

MODELS = ("p1", "p2", "p3", "broken", "agg", "outer")
PROPOSERS = ["openai:p1", "openai:p2", "openai:p3", "openai:broken"]
# With any address other than OpenAI's own, its client does not request the usage of a stream.
AGGREGATOR = {"model": "openai:agg", "settings": {"stream_usage": True}}
OUTER = {"model": "openai:outer", "settings": {"stream_usage": True}}
FAILURE = "hidden in the cellar"

_WRITTEN = re.compile(r"\b(?:p\d|agg) \(\d+ read\) says \d+\b")
_FORMS = (
    re.compile(r"JSON of the form (\{.*?\})(?:[ ,.])"),  # the example itself is a good reply
    re.compile(r"last line of all labels from best to worst, like (.*)\."),
    re.compile(r"in double brackets, like (\[\[A\]\])"),
)


def behave(server: Loopback, *, agree: bool = True) -> None:
    """Script every model of the panel.

    Args:
        server: The server.
        agree: Whether the proposers say the same. Votes of models that agree are decided as soon as most have answered, and
            which those are depends on time.
    """
    numbers = {} if agree else {"p1": 40, "p2": 41}
    for model in MODELS:
        server.script(model, partial(_reply, number=numbers.get(model, 42)))
    server.script("broken", Reply(FAILURE, status=400))


def references_in(request: Recorded) -> list[str]:
    """Return the references that a prompt shows, in order."""
    return _WRITTEN.findall(request.system if decides(request) else f"{request.system}\n{request.user}")


def decides(request: Recorded) -> bool:
    """Return whether a model was asked for a decision rather than an answer."""
    return _decision(request.body) is not None


def _reply(body: Body, *, number: int) -> Reply:
    decision = _decision(body)
    if decision is not None:
        return Reply(decision, usage=Usage(prompt=50, completion=5))
    read = sum(len(_WRITTEN.findall(text_of(message.get("content")))) for message in body["messages"])
    return Reply(f"{body['model']} ({read} read) says {number}", usage=Usage(prompt=20 + read, completion=7))


def _decision(body: Body) -> str | None:
    asked = last_user_text(body["messages"])
    found = (form.search(asked) for form in _FORMS)
    return next((match[1] for match in found if match is not None), None)
