"""Roles: one model as several proposers that approach a task from different points of view."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any
from weakref import WeakValueDictionary

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.errors import GraphBubbleUp
from langgraph.store.memory import InMemoryStore
from pydantic import RootModel, StringConstraints

from langchain_moa.data.errors import MoAError
from langchain_moa.data.redaction import describe
from langchain_moa.data.validation import each
from langchain_moa.limits.portal import wait_for
from langchain_moa.members.proposer import Proposer
from langchain_moa.prompting.place import add_system_text
from langchain_moa.strategies.inquiry import Ask, conduct, decide, reads_json

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig
    from langgraph.store.base import BaseStore

    from langchain_moa.data.answer import Answer
    from langchain_moa.members.member import Member

_NAMESPACE = ("langchain_moa", "roles")
_written = InMemoryStore()

# One call at a time writes under a key; calls that waited use what it wrote.
_locks: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
_guard = threading.Lock()

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

WRITER = (
    "You set up a panel of experts for a task. You give each a role that makes it see what the others miss: another "
    "profession, method or point of view that helps with this very task. A role is an instruction to the expert, of two or "
    "three sentences, beginning with 'You are'."
)
"""The instruction of the model that writes roles."""


class _Roles(RootModel[dict[_Text, _Text]]):
    """A system prompt for each name."""


def roles(model: Any, descriptions: Mapping[str, str] | Sequence[str]) -> list[Proposer]:
    """Make a proposer for each of several roles of one model.

    Args:
        model: The model, in any form that `proposers` accepts. If it has a `system_prompt`, the role follows after it.
        descriptions: System prompts by name, or a list of system prompts, which are then named `role 1`, `role 2`, ...

    Returns:
        The proposers, in the order of the roles.

    Raises:
        ValueError: There are no roles, or a role has no name or no text.

    Example:
        ```python
        from langchain_moa import ChatMoA, roles

        moa = ChatMoA(
            proposers=roles(
                "local:smollm2-135m",
                {"sceptic": "You look for what could be wrong.", "teacher": "You explain step by step."},
            ),
            aggregator="local:smollm2-135m",
        )
        ```
    """
    described: Any = descriptions
    if isinstance(described, str) or not isinstance(described, Mapping | Sequence):
        msg = f"descriptions: give system prompts by name, or a list of them, not {type(described).__name__}"
        raise ValueError(msg)  # noqa: TRY004  # a ValueError, as for every other field
    if not isinstance(described, Mapping):
        described = {f"role {number}": text for number, text in enumerate(described, start=1)}
    if not described:
        msg = "descriptions: there are no roles; give at least one"
        raise ValueError(msg)
    spec = Proposer.coerce(model)
    own = f"{spec.system_prompt}\n\n" if spec.system_prompt else ""

    def proposer(role: tuple[Any, Any]) -> Proposer:
        name, text = role
        if not (isinstance(name, str) and isinstance(text, str) and name.strip() and text.strip()):
            msg = f"{name!r} is {text!r}; give each role a name and a system prompt, both non-empty strings"
            raise ValueError(msg)
        return replace(spec, name=name, system_prompt=f"{own}{text}")

    return list(each(described.items(), proposer, place="descriptions: "))


def write_roles(
    writer: Any, task: str, count: int = 4, *, store: BaseStore | None = None, config: RunnableConfig | None = None
) -> dict[str, str]:
    """Have a model write roles for a task (SMoA, arXiv 2411.03284). Roles are written once and then reused.

    Concurrent calls for the same roles wait for the first one and return its result.

    Args:
        writer: The model that writes, in any form that `proposers` accepts. Roles are stored by the writer's model and
            settings, the task and the count; a Runnable that is not a chat model is identified by its name.
        task: A description of the mixture's task.
        count: The number of roles, at least 1. Default: 4.
        store: Where roles are stored. Default: in the memory of this process; give a LangGraph store on disk or in a database
            to keep them.
        config: The config of the model call.

    Returns:
        System prompts by name, for `roles`.

    Raises:
        ValueError: `count` is less than 1, or the writer cannot be made.
        MoAError: The model failed, in which case its error is the `__cause__`, or its reply could not be parsed twice.

    Example:
        ```python
        from langchain_moa import ChatMoA, roles, write_roles

        written = write_roles("openai:gpt-6.1-sol", "grade-school maths problems", count=3)
        moa = ChatMoA(proposers=roles("openai:gpt-6-luna", written), aggregator="openai:gpt-6-luna")
        ```
    """
    store = _written if store is None else store
    member, key = _prepare(writer, task, count)
    with _lock((id(store), key), threading.Lock):
        if (found := store.get(_NAMESPACE, key)) is not None:
            return dict(found.value["roles"])
        written = wait_for(_write, member, task, count, config)
        store.put(_NAMESPACE, key, {"task": task, "roles": dict(written)})
        return written


async def awrite_roles(
    writer: Any, task: str, count: int = 4, *, store: BaseStore | None = None, config: RunnableConfig | None = None
) -> dict[str, str]:
    """Async version of `write_roles`, with the same arguments and errors.

    Example:
        ```python
        import asyncio

        from langchain_moa import awrite_roles

        print(asyncio.run(awrite_roles("openai:gpt-6.1-sol", "riddles in rhyme", count=3)))
        ```
    """
    store = _written if store is None else store
    member, key = _prepare(writer, task, count)
    async with _lock((id(store), key, id(asyncio.get_running_loop())), asyncio.Lock):
        if (found := await store.aget(_NAMESPACE, key)) is not None:
            return dict(found.value["roles"])
        written = await _write(member, task, count, config)
        await store.aput(_NAMESPACE, key, {"task": task, "roles": dict(written)})
        return written


async def _write(member: Member, task: str, count: int, config: RunnableConfig | None) -> dict[str, str]:
    async def answer(ask: Ask) -> Answer:
        try:
            return _good(await member.ainvoke(_messages(ask, member), _named(ask, config), {}), member)
        except (GraphBubbleUp, MoAError):
            raise
        except Exception as error:
            raise _failed(error, member) from error

    return _checked(await conduct(_inquiry(task, count), answer), member)


def _prepare(writer: Any, task: str, count: int) -> tuple[Member, str]:
    if count < 1:
        msg = f"count: {count} is too small; give at least 1"
        raise ValueError(msg)
    member = Proposer.coerce(writer).resolve({})
    # A Runnable that is not a chat model is identified by its name, since its memory address changes with the process.
    described = {key: value for key, value in member.describe().items() if key != "runnable"}
    said = json.dumps([described, task, count], sort_keys=True, default=str)
    return member, hashlib.sha256(said.encode()).hexdigest()


def _lock(place: Hashable, make: Callable[[], Any]) -> Any:
    with _guard:
        found = _locks.get(place)
        if found is None:
            found = _locks[place] = make()
        return found


def _messages(ask: Ask, member: Member) -> list[BaseMessage]:
    role = member.spec.system_prompt
    return add_system_text(ask.messages, role) if role else list(ask.messages)


def _named(ask: Ask, config: RunnableConfig | None) -> RunnableConfig:
    return {**(config or {}), "run_name": ask.name}


def _inquiry(task: str, count: int) -> Generator[Ask, Answer, tuple[dict[str, str] | None, str]]:
    form = f'JSON of the form {{"short name": "You are ..."}} with {count} entries'

    def read(reply: str) -> dict[str, str] | None:
        found = reads_json(_Roles)(reply)
        return found.root if found is not None and len(found.root) == count else None

    messages = [SystemMessage(WRITER), HumanMessage(f"The task: {task}\n\nWrite {count} roles. Reply with {form} alone.")]
    return decide(Ask(messages=messages, name="roles"), read, form=form)


def _good(answer: Answer, member: Member) -> Answer:
    if (failure := answer["failure"]) is not None:
        msg = f"{member.id} failed to write roles: {failure['kind']}: {failure['message']}"
        raise MoAError(msg)
    return answer


def _failed(error: Exception, member: Member) -> MoAError:
    failure = describe(error, member.secrets)
    return MoAError(f"{member.id} failed to write roles: {failure['kind']}: {failure['message']}")


def _checked(outcome: tuple[dict[str, str] | None, str], member: Member) -> dict[str, str]:
    written, _ = outcome
    if written is None:
        msg = f"the roles that {member.id} wrote could not be parsed, twice; use another writer, or write roles yourself"
        raise MoAError(msg)
    return written
