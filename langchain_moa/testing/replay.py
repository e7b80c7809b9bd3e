"""A chat model that replays recorded answers, for experiments without a key or a network."""

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

from langchain_moa.data.recorded import recorded_texts, recorded_values
from langchain_moa.data.rows import read_rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models.base import LangSmithParams

    from langchain_moa.data.rows import Row

_PIECE = re.compile(r"\s*\S+|\s+\Z")

_SHOWN = 60


_PREFIX = "replay:"

# Characters per token, as LangChain estimates it.
_CHARACTERS = 4


class UnknownQuestionError(LookupError):
    """No answer is recorded for a question; the message names the closest recorded question."""


class RecordedFailureError(RuntimeError):
    """The call failed when it was recorded, so it fails when it is replayed."""


def _coerce_answers(value: Any) -> dict[str, tuple[str | None, ...]]:
    if not isinstance(value, Mapping) or not value:
        msg = "give a mapping with at least one question, from each question to its answer or to a list of answers"
        raise ValueError(msg)
    answers = {}
    for question, given in value.items():
        each = (given,) if given is None or isinstance(given, str) else given
        texts = isinstance(each, Sequence) and bool(each) and all(text is None or isinstance(text, str) for text in each)
        if not isinstance(question, str) or not texts:
            msg = (
                f"{_short(str(question))!r}: a question must be a text, and its answer a text, None, or a list of at least one "
                "of these"
            )
            raise ValueError(msg)
        answers[question] = tuple(each)
    return answers


class ReplayChatModel(BaseChatModel):
    """A chat model that looks up its answer by the exact text of the last user message.

    Use it wherever you use a chat model, for example as a proposer. You pay for the answers of real models once, and then try
    votes, filters and judges on them for free. Other messages of the conversation, such as a system message with references,
    have no effect. In files and on the command line, write `replay:answers.jsonl#gpt-4o`; see `replay_model`.

    Attributes:
        answers: The answer to each question, or a list of several answers (samples). `None` is a failed call.
        model: The model's name in reports, `model` or `provider:model`. With a provider, its tokens are priced by the price
            list. Default: `replay`.
        sample: Index of the sample to return, from 0. An index beyond the last sample wraps around. Default: the first
            sample, or the one that `seed` draws.
        seed: Draws one of several samples; the same seed and question always draw the same sample. A `seed` given at call
            time overrides it, so that `Mixture.self_moa` draws different samples. Default: no sample is drawn.
        costs_usd: For each question, the cost of each of its answers in US dollars, or `None` if it is unknown.
        characters: For each question, the length of each of its original answers in characters. Default: the length of the
            recorded text.

    Raises:
        ValueError: At construction, as a `pydantic.ValidationError`: there are no answers, or an answer is not a text.
        UnknownQuestionError: At call time: no answer is recorded for the question.
        RecordedFailureError: At call time: the recorded call failed.

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

    answers: Annotated[Mapping[str, str | Sequence[str | None] | None], PlainValidator(_coerce_answers)] = Field(repr=False)
    model: str = "replay"
    sample: int | None = Field(default=None, ge=0)
    seed: int | None = None
    costs_usd: Mapping[str, Sequence[float | None]] = Field(default={}, repr=False)
    characters: Mapping[str, Sequence[int | None]] = Field(default={}, repr=False)

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
        """Read recorded answers from a JSON Lines file, or from a JSON file with a list of objects.

        Rows with the same question are samples of one answer.

        Args:
            path: The file.
            question: The key of the question. Default: `question`.
            answer: The key of the answer, or the path of keys to it, such as `["recorded", "gpt-4", "output"]`. The answer is
                a text, a list of texts, or null for a call that failed. Default: `answer`.
            **fields: The other fields, such as `model` and `seed`.

        Raises:
            ValueError: The file cannot be read, a line is not a JSON object, or a key is missing; the message has the file and
                the line.
        """
        keys = [answer] if isinstance(answer, str) else list(answer)
        answers: dict[str, list[str | None]] = {}
        for row in read_rows(path):
            said = _at(row, keys)
            if not isinstance(said, str | list | None):
                row.refuse(f"{' / '.join(keys)!r} is neither a text nor a list of texts")
            answers.setdefault(row.get(question, str), []).extend(said if isinstance(said, list) else [said])
        return cls(answers=answers, **fields)

    @property
    def _llm_type(self) -> str:
        return "replay"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        # A digest, since caches and descriptions of mixtures need not contain all answers to tell two models apart.
        if self._digest is None:
            self._digest = hashlib.sha256(repr(sorted(self.answers.items())).encode()).hexdigest()[:16]
        return {"model": self.model, "sample": self.sample, "seed": self.seed, "answers": self._digest}

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
        text, details = self._answer(messages, stop, kwargs.get("seed"))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text, **details))])

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
        text, details = self._answer(messages, stop, seed)
        for piece in _PIECE.findall(text):
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        yield ChatGenerationChunk(message=AIMessageChunk(content="", chunk_position="last", **details))

    def _answer(
        self, messages: Sequence[BaseMessage], stop: Sequence[str] | None, seed: int | None
    ) -> tuple[str, dict[str, Any]]:
        """Return the recorded answer, and the usage and response metadata of its message."""
        asked = next((str(message.text) for message in reversed(messages) if isinstance(message, HumanMessage)), None)
        texts: Any = None if asked is None else self.answers.get(asked)
        if asked is None or texts is None:
            raise UnknownQuestionError(self._unknown(asked))
        place = self._place(asked, len(texts), self.seed if seed is None else seed)
        text = texts[place]
        if text is None:
            msg = f"the call of the model {self.model!r} for {_short(asked)!r} failed when it was recorded"
            raise RecordedFailureError(msg)
        characters, cost = (_at_place(recorded.get(asked), place) for recorded in (self.characters, self.costs_usd))
        provider, _, name = self.model.rpartition(":")
        metadata = {"model_name": name, **({"model_provider": provider} if provider else {})}
        if cost is not None:
            metadata["cost_usd"] = cost
        details = {"usage_metadata": _usage(messages, text, characters), "response_metadata": metadata}
        for word in stop or ():
            text = text.partition(word)[0]
        return text, details

    def _place(self, asked: str, samples: int, seed: int | None) -> int:
        if self.sample is not None:
            return self.sample % samples
        # Each draw has its own generator, so that it does not depend on earlier questions.
        return 0 if seed is None else random.Random(f"{seed} {asked}").randrange(samples)  # noqa: S311  # not for security

    def _unknown(self, asked: str | None) -> str:
        if asked is None:
            return f"the model {self.model!r} replays recorded answers to questions, but the conversation has no user message"
        close = get_close_matches(asked, self.answers, n=1)
        hint = f"; the closest of its {len(self.answers)} recorded questions is {_short(close[0])!r}" if close else ""
        return f"the model {self.model!r} has no recorded answer to exactly {_short(asked)!r}{hint}"


def replay_model(spec: str, **fields: Any) -> ReplayChatModel:
    """Create the model for a member string `replay:FILE#MODEL`.

    Each line of the file is an object with a `question` and with `recorded`, a mapping from model names to answers. An answer
    is a text, a list of texts (several samples), or null (the call failed). Optionally, `cost_usd` and `chars` map model names
    to the costs of these answers in US dollars and to the lengths of the original answers in characters. If `cost_usd` is
    missing, a model that is named `provider:model` is priced by the price list.

    Args:
        spec: The model as `replay:answers.jsonl#gpt-4o`, or without `replay:`.
        **fields: Other fields of the model, such as `sample` and `seed`.

    Raises:
        ValueError: There is no such file or model, or a line is invalid; the message has the file, the line and the remedy.

    Example:
        ```python
        from pathlib import Path

        from langchain_moa.testing import replay_model

        Path("answers.jsonl").write_text('{"question": "2 + 2?", "recorded": {"one": "It is 4.", "two": ["4", "5"]}}')
        print(replay_model("replay:answers.jsonl#two", sample=1).invoke("2 + 2?").text)
        ```
    """
    path, separator, name = spec.removeprefix(_PREFIX).rpartition("#")
    if not separator or not path or not name:
        msg = (
            f"cannot make the model {spec!r}: write 'replay:FILE#MODEL', with a file of recorded answers and one of its models"
        )
        raise ValueError(msg)
    rows = read_rows(path)
    models = list(dict.fromkeys(model for row in rows for model in row.get("recorded", dict)))
    if name not in models:
        close = get_close_matches(name, models, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(models)}"
        msg = f"cannot make the model {spec!r}: {path} has no answers of {name!r}; {hint}"
        raise ValueError(msg)
    answers: dict[str, list[Any]] = {}
    costs: dict[str, list[Any]] = {}
    characters: dict[str, list[Any]] = {}
    for row in rows:
        question, texts = row.text("question"), recorded_texts(row, name)
        answers.setdefault(question, []).extend(texts)
        costs.setdefault(question, []).extend(recorded_values(row, "cost_usd", name, len(texts)))
        characters.setdefault(question, []).extend(recorded_values(row, "chars", name, len(texts)))
    return ReplayChatModel(answers=answers, model=name, costs_usd=costs, characters=characters, **fields)


def _at_place(values: Sequence[Any] | None, place: int) -> Any:
    return values[place] if values is not None and place < len(values) else None


def _at(row: Row, keys: Sequence[str]) -> Any:
    """Return the value at a path of keys."""
    value: Any = row.data
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            row.refuse(f"there is no {' / '.join(keys)!r}")
        value = value[key]
    return value


def _usage(messages: Sequence[BaseMessage], text: str, characters: int | None) -> UsageMetadata:
    # Estimated as LangChain does, four characters per token, since the provider's count is not recorded.
    asked, said = count_tokens_approximately(messages), count_tokens_approximately([AIMessage(text)])
    if characters is not None:
        said = -(-characters // _CHARACTERS)
    return UsageMetadata(input_tokens=asked, output_tokens=said, total_tokens=asked + said)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
