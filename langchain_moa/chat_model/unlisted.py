"""Async generators that belong to another one, which closes them: the event loop is not to close them as well."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

T = TypeVar("T")


def unlisted(items: AsyncIterator[T]) -> Awaitable[T]:
    """Take the first step of a generator without the event loop taking it down in its list.

    `asyncio.run` ends by closing all generators on that list, all at the same time. One that is closed by the generator around
    it would be closed twice at once, of which Python complains on the standard error ("asynchronous generator is already
    running"). So only the outermost is the loop's; whoever calls this must close what it starts.

    Args:
        items: An async generator that has not begun.
    """
    hooks = sys.get_asyncgen_hooks()
    # The hooks are this thread's; they are asked in the call, not while its result is awaited.
    sys.set_asyncgen_hooks(None, None)
    try:
        return anext(items)
    finally:
        sys.set_asyncgen_hooks(*hooks)
