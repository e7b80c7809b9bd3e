"""Roles: one model as several proposers that look at a task from different sides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.store.memory import InMemoryStore
from pydantic import RootModel, StringConstraints

from langchain_moa.errors import MoAError
from langchain_moa.members.proposer import Proposer
from langchain_moa.strategies.decision import decide, reads_json
from langchain_moa.strategies.inquiry import Ask

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from langchain_core.runnables import RunnableConfig
    from langgraph.store.base import BaseStore

    from langchain_moa.members.member import Member
    from langchain_moa.reference import Answer

_NAMESPACE = ("langchain_moa", "roles")
_written = InMemoryStore()

_Outcome: TypeAlias = tuple[dict[str, str] | None, str]
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

WRITER = (
    "You set up a panel of experts for a task. You give each a role that makes it see what the others miss: another "
    "profession, method or point of view that helps with this very task. A role is an instruction to the expert, of two or "
    "three sentences, beginning with 'You are'."
)
"""What the writer of roles is told it is."""


class _Roles(RootModel[dict[_Text, _Text]]):
    """A system prompt for each name."""


def roles(model: Any, descriptions: Mapping[str, str] | Sequence[str]) -> list[Proposer]:
    """Give one model several roles: a proposer for each.

    Args:
        model: Whatever may stand for a proposer. A `system_prompt` of its own comes first, then the role.
        descriptions: System prompts by name, or system prompts alone, which are then named by number.

    Returns:
        The proposers, in the order of the roles.

    Raises:
        ValueError: There are no roles.

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
    if not isinstance(descriptions, Mapping):
        descriptions = {f"role {number}": text for number, text in enumerate(descriptions, start=1)}
    if not descriptions:
        msg = "descriptions: there are no roles; give at least one"
        raise ValueError(msg)
    spec = Proposer.coerce(model)
    own = f"{spec.system_prompt}\n\n" if spec.system_prompt else ""
    return [replace(spec, name=name, system_prompt=f"{own}{text}") for name, text in descriptions.items()]


def write_roles(
    writer: Any, task: str, count: int = 4, *, store: BaseStore | None = None, config: RunnableConfig | None = None
) -> dict[str, str]:
    """Have a model write roles for a task, once; the next time they are remembered (SMoA, arXiv 2411.03284).

    Args:
        writer: Who writes: whatever may stand for a proposer.
        task: What the mixture is for, in words.
        count: How many roles, at least 1.
        store: Where roles are remembered. Default: in this process; a LangGraph store on disk or in a database keeps them.
        config: The config of the call.

    Returns:
        System prompts by name, for `roles`.

    Raises:
        MoAError: What the model wrote could not be read, twice.

    Example:
        ```python
        from langchain_moa import ChatMoA, roles, write_roles

        written = write_roles("openai:gpt-6.1-sol", "grade-school maths problems", count=3)
        moa = ChatMoA(proposers=roles("openai:gpt-6-luna", written), aggregator="openai:gpt-6-luna")
        ```
    """
    store = _written if store is None else store
    member, key = _prepare(writer, task, count)
    if (found := store.get(_NAMESPACE, key)) is not None:
        return dict(found.value["roles"])
    inquiry = _inquiry(task, count)
    outcome: _Outcome = (None, "")
    try:
        ask = next(inquiry)
        while True:
            answer = member.invoke(ask.messages, {**(config or {}), "run_name": ask.name}, {})
            ask = inquiry.send(answer)
    except StopIteration as end:
        outcome = end.value
    written = _checked(outcome, member)
    store.put(_NAMESPACE, key, {"task": task, "roles": written})
    return written


async def awrite_roles(
    writer: Any, task: str, count: int = 4, *, store: BaseStore | None = None, config: RunnableConfig | None = None
) -> dict[str, str]:
    """Have a model write roles for a task, without blocking; arguments and errors are those of `write_roles`.

    Example:
        ```python
        import asyncio

        from langchain_moa import awrite_roles

        print(asyncio.run(awrite_roles("openai:gpt-6.1-sol", "riddles in rhyme", count=3)))
        ```
    """
    store = _written if store is None else store
    member, key = _prepare(writer, task, count)
    if (found := await store.aget(_NAMESPACE, key)) is not None:
        return dict(found.value["roles"])
    inquiry = _inquiry(task, count)
    outcome: _Outcome = (None, "")
    try:
        ask = next(inquiry)
        while True:
            answer = await member.ainvoke(ask.messages, {**(config or {}), "run_name": ask.name}, {})
            ask = inquiry.send(answer)
    except StopIteration as end:
        outcome = end.value
    written = _checked(outcome, member)
    await store.aput(_NAMESPACE, key, {"task": task, "roles": written})
    return written


def _prepare(writer: Any, task: str, count: int) -> tuple[Member, str]:
    if count < 1:
        msg = f"count: {count} is too few; give at least 1"
        raise ValueError(msg)
    member = Proposer.coerce(writer).resolve({})
    described = json.dumps([member.describe(), task, count], sort_keys=True, default=str)
    return member, hashlib.sha256(described.encode()).hexdigest()


def _inquiry(task: str, count: int) -> Generator[Ask, Answer, _Outcome]:
    form = f'JSON of the form {{"short name": "You are ..."}} with {count} entries'

    def read(reply: str) -> dict[str, str] | None:
        found = reads_json(_Roles)(reply)
        return found.root if found is not None and len(found.root) == count else None

    messages = [SystemMessage(WRITER), HumanMessage(f"The task: {task}\n\nWrite {count} roles. Reply with {form} alone.")]
    return decide(Ask(messages=messages, name="roles"), read, form=form)


def _checked(outcome: _Outcome, member: Member) -> dict[str, str]:
    written, _ = outcome
    if written is None:
        msg = f"{member.id} wrote no roles that could be read, twice; give another writer, or write them yourself"
        raise MoAError(msg)
    return written
