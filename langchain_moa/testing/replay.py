"""A chat model that replays recorded answers: experiments on real models' outputs, without a key and without a network."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Self

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field, PlainValidator, PrivateAttr
from typing_extensions import override

from langchain_moa.data.rows import read_rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models.base import LangSmithParams

    from langchain_moa.data.rows import Row

_PIECE = re.compile(r"\s*\S+|\s+\Z")

_SHOWN = 60


class UnknownQuestionError(LookupError):
    """Nothing is recorded for a question; the text says which one is closest to it."""


def _coerce_answers(value: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, Mapping) or not value:
        msg = "give a mapping of each question to its answer, or to a list of answers, with at least one question"
        raise ValueError(msg)
    answers = {}
    for question, given in value.items():
        each = (given,) if isinstance(given, str) else given
        texts = isinstance(each, Sequence) and bool(each) and all(isinstance(text, str) for text in each)
        if not isinstance(question, str) or not texts:
            msg = f"{_short(str(question))!r} must be a text with an answer, or a list of at least one, all of them texts"
            raise ValueError(msg)
        answers[question] = tuple(each)
    return answers


class ReplayChatModel(BaseChatModel):
    """A chat model that looks its answer up by the question: the text of the last user message, exactly.

    It stands wherever a model does, as a proposer of a mixture above all: what real models have answered is paid for once, and
    then filters, votes and judges are tried on it for nothing. Whatever else is in the conversation (a system message,
    references) changes nothing.

    Attributes:
        answers: For each question its answer, or several of them.
        model: What the model is called in reports. Default: `replay`.
        seed: Which of several answers is taken: `None`, the default, takes the first; a number draws one, for the same number
            and question always the same. A `seed` of the call goes before it, so that `Mixture.self_moa` draws samples.

    Raises:
        ValueError: As `pydantic.ValidationError`, at construction: there are no answers, or one is no text.
        UnknownQuestionError: While running: nothing is recorded for the question.

    Example:
        ```python
        from langchain_moa import Mixture, create_moa
        from langchain_moa.testing import ReplayChatModel

        one = ReplayChatModel(model="one", answers={"What is 2 + 2?": "It is 4."})
        two = ReplayChatModel(model="two", answers={"What is 2 + 2?": ["4", "Four."]}, seed=7)
        graph = create_moa(Mixture(proposers=[one, two], aggregation="medoid", num_layers=1)).compile()
        print(graph.invoke({"messages": [("user", "What is 2 + 2?")]})["messages"][-1].text)
        ```
    """

    answers: Annotated[Mapping[str, str | Sequence[str]], PlainValidator(_coerce_answers)] = Field(repr=False)
    model: str = "replay"
    seed: int | None = None

    _digest: str | None = PrivateAttr(default=None)

    @classmethod
    def from_jsonl(
        cls,
        path: str | Path,
        *,
        question: str = "question",
        answer: str | Sequence[str] = "answer",
        **fields: Any,
    ) -> Self:
        """Read recorded answers from a file with one JSON object a line, or with a list of objects.

        Rows with the same question are several answers.

        Args:
            path: The file.
            question: The key of the question.
            answer: The key of the answer, or the keys that lead to it: `["recorded", "gpt-4", "output"]`. It may be a text or
                a list of texts.
            **fields: The other fields, `model` and `seed`.

        Raises:
            ValueError: The file cannot be read, a line is no JSON object, or lacks a key; the text has the file and the line.
        """
        keys = [answer] if isinstance(answer, str) else list(answer)
        answers: dict[str, list[str]] = {}
        for row in read_rows(path):
            said = _at(row, keys)
            if not isinstance(said, str | list):
                row.refuse(f"{' / '.join(keys)!r} is neither a text nor a list of texts")
            answers.setdefault(row.get(question, str), []).extend([said] if isinstance(said, str) else said)
        return cls(answers=answers, **fields)

    @property
    def _llm_type(self) -> str:
        return "replay"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        # A cache, or the description of a mixture, need not hold a thousand answers to tell two models apart.
        if self._digest is None:
            self._digest = hashlib.sha256(repr(sorted(self.answers.items())).encode()).hexdigest()[:16]
        return {"model": self.model, "seed": self.seed, "answers": self._digest}

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        name = kwargs.get("model", self.model)
        return {**super()._get_ls_params(stop=stop, **kwargs), "ls_provider": "replay", "ls_model_name": name}

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text = self._answer(messages, stop, kwargs.get("seed"))
        message = AIMessage(text, usage_metadata=_usage(messages, text), response_metadata={"model_name": self.model})
        return ChatResult(generations=[ChatGeneration(message=message)])

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, **kwargs)

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._chunks(messages, stop, kwargs.get("seed")):
            if run_manager is not None:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks(messages, stop, kwargs.get("seed")):
            if run_manager is not None:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _chunks(self, messages: list[BaseMessage], stop: list[str] | None, seed: int | None) -> Iterator[ChatGenerationChunk]:
        text = self._answer(messages, stop, seed)
        for piece in _PIECE.findall(text):
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        last = AIMessageChunk(
            content="",
            usage_metadata=_usage(messages, text),
            response_metadata={"model_name": self.model},
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=last)

    def _answer(self, messages: Sequence[BaseMessage], stop: Sequence[str] | None, seed: int | None) -> str:
        asked = next((str(message.text) for message in reversed(messages) if isinstance(message, HumanMessage)), None)
        texts = None if asked is None else self.answers.get(asked)
        if texts is None:
            raise UnknownQuestionError(self._unknown(asked))
        seed = self.seed if seed is None else seed
        # A generator of its own for each answer: which one is drawn does not hang on what was asked before.
        text = texts[0] if seed is None else random.Random(f"{seed} {asked}").choice(texts)  # noqa: S311  # it guards nothing
        for word in stop or ():
            text = text.partition(word)[0]
        return text

    def _unknown(self, asked: str | None) -> str:
        if asked is None:
            return f"the model {self.model!r} replays answers to questions, and the conversation has no user message"
        close = get_close_matches(asked, self.answers, n=1)
        hint = f"; the closest of the {len(self.answers)} that are is {_short(close[0])!r}" if close else ""
        return f"the model {self.model!r} has no recorded answer to {_short(asked)!r}, to the letter{hint}"


def _at(row: Row, keys: Sequence[str]) -> Any:
    """Return what stands where the keys lead to."""
    value: Any = row.data
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            row.refuse(f"there is no {' / '.join(keys)!r}")
        value = value[key]
    return value


def _usage(messages: Sequence[BaseMessage], text: str) -> UsageMetadata:
    # Counted as LangChain estimates tokens, four characters each: nobody has recorded what the provider counted.
    asked, said = count_tokens_approximately(messages), count_tokens_approximately([AIMessage(text)])
    return UsageMetadata(input_tokens=asked, output_tokens=said, total_tokens=asked + said)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
