"""Verified: the answer is the first reference that passes your check."""

from __future__ import annotations

import inspect
import logging
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Literal

from langchain_core.runnables.utils import is_async_callable
from pydantic import Field, PlainValidator

from langchain_moa.aggregation.medoid import central
from langchain_moa.data.errors import OutOfTimeError
from langchain_moa.data.redaction import redact
from langchain_moa.data.reference import Check
from langchain_moa.data.sanitizing import plain, shown_line
from langchain_moa.limits.deadline import Limit, call_within
from langchain_moa.limits.portal import in_worker
from langchain_moa.strategies.aggregation import Choice, Undecided
from langchain_moa.strategies.loading import load_function
from langchain_moa.strategies.registry import strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.reference import Reference
    from langchain_moa.strategies.inquiry import Inquiry

__all__ = ["Verified"]

_logger = logging.getLogger("langchain_moa")

# Longer messages are cut: they would leave too little room for the answers in the prompts.
_LONGEST = 2000


def _known(value: Any) -> Any:
    if isinstance(value, str):
        _loaded(value)
    elif not callable(value):
        msg = f"give a callable (text, question), or 'file.py:function', not {type(value).__name__}"
        raise ValueError(msg)  # noqa: TRY004  # pydantic reports ValueErrors with the field's name
    return value


@cache
def _loaded(name: str) -> Callable[..., Any]:
    return load_function(name)


@strategy
class Verified:
    """Answer with the first reference that passes your check, unchanged.

    Use this for answers that a program can check: with unit tests, a schema, a query, or a proof checker. Each reference is
    checked as soon as it arrives. The first one that passes ends the layers: the other calls of its layer are cancelled and
    recorded with the status `cancelled`. If no reference passes, the mixture continues: the next layer, and finally the
    aggregator, read the references together with the message of each check. The aggregator's answer is checked as well.
    `response_metadata["moa"]["verified"]` is true if the answer passed, and `["check"]` is the check's message.

    A check that raises an exception or exceeds `timeout` counts as failed, and its message says why. Checks of the references
    of one layer run concurrently. Sync checks run in worker threads, which cannot be stopped: a check that hangs keeps its
    thread.

    A check that runs code written by a model runs untrusted code. This package has no sandbox: run the code in your own, such
    as a container without network access, and return the result.

    Attributes:
        check: A sync or async callable `(text, question)`, or its name as `mine.py:check`. It gets the text of an answer and
            the text of the user's last message, and returns `True`, `False`, or a message that says what is wrong. The file
            is executed at construction.
        timeout: Time limit for a check, in seconds. Default: 60.
        otherwise: What happens if no reference passes: the `aggregator` writes the answer (default), or the `medoid` is the
            answer, which needs no aggregator.

    Raises:
        ValueError: The file or the function does not exist, or `check` is not callable.

    Example:
        ```python
        import json

        from langchain_moa import ChatMoA


        def check(text: str, question: str) -> bool | str:
            try:
                json.loads(text)
            except ValueError as error:
                return f"this is no JSON: {error}"
            return True


        moa = ChatMoA.from_preset("local", aggregation={"verified": {"check": check}})
        print(moa.invoke("Write a JSON object with a name.").response_metadata["moa"]["verified"])
        ```
    """

    check: Annotated[Any, PlainValidator(_known)]
    timeout: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    otherwise: Literal["aggregator", "medoid"] = "aggregator"

    over = "all"
    """The references of all layers are candidates."""
    ends_decided = True
    may_stop = True
    decision = "check passed"

    @property
    def models(self) -> tuple[None, ...]:
        """The model that writes the answer if no reference passes: the aggregator (`None`), or none."""
        return (None,) if self.may_pass_on else ()

    @property
    def may_pass_on(self) -> bool:
        """Whether the aggregator writes the answer if no reference passes."""
        return self.otherwise == "aggregator"

    def __call__(
        self,
        messages: Sequence[BaseMessage],  # noqa: ARG002  # an aggregation's arguments
        references: Sequence[Reference],
    ) -> Inquiry[Choice] | Choice | Undecided:
        """Return the first reference that passed; if none did, `Undecided` or the medoid."""
        for reference in references:
            if _has_passed(reference):
                return Choice(reference)
        if self.may_pass_on:
            return Undecided()
        return central(references, fallback="medoid", because="no reference has passed the check")

    def decided(self, references: Sequence[Reference], ahead: int) -> str | None:  # noqa: ARG002  # the interface of aggregations
        """Return which reference passed, as text; `None` if none did.

        Args:
            references: The answers so far.
            ahead: How many answers may still come; not used.
        """
        passed = next(filter(_has_passed, references), None)
        if passed is None:
            return None
        return f"the answer of {passed['name']} (layer {passed['layer']}, proposer {passed['proposer']}) has passed the check"

    async def examine(self, text: str, question: str) -> Check:
        """Check an answer.

        Args:
            text: The answer.
            question: The question.

        Returns:
            Whether the answer passed, and the check's message.
        """
        check = _loaded(self.check) if isinstance(self.check, str) else self.check

        async def call() -> Any:
            result = check(text, question) if is_async_callable(check) else await in_worker(lambda: check(text, question))
            return await result if inspect.isawaitable(result) else result

        try:
            return _read(await call_within(Limit(monotonic() + self.timeout, "timeout", "the check took too long"), call))
        except OutOfTimeError:
            return Check(passed=False, said=f"the check exceeded its timeout of {self.timeout:g} s")
        except AssertionError as error:
            return Check(passed=False, said=_line(error) or "an assertion of the check failed")
        except Exception as error:  # noqa: BLE001  # a bug in the check must not lose answers that are paid for
            said = f"the check raised {type(error).__name__}: {_line(error)}"
            _logger.warning("%s", shown_line(redact(said)))
            return Check(passed=False, said=said)


def _has_passed(reference: Reference) -> bool:
    check = reference.get("check")
    return check is not None and check["passed"]


def _read(result: Any) -> Check:
    if isinstance(result, str):
        return Check(passed=False, said=_cut(result))
    # numpy's booleans are not instances of `bool`.
    if isinstance(result, bool) or type(result).__module__ == "numpy":
        return Check(passed=bool(result), said="")
    msg = f"the check returned {type(result).__name__}; return True, False, or a message of what is wrong"
    raise TypeError(msg)


def _line(error: Exception) -> str:
    return _cut(" ".join(str(error).split()))


def _cut(text: str) -> str:
    text = plain(redact(text)).strip()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
