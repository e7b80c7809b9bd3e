"""The ranks of a graph's nodes: in which column each stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def ranks(count: int, ends: Sequence[tuple[int, int]], *, first: Sequence[int] = (), last: Sequence[int] = ()) -> list[int]:
    """Return each node's rank: the length of its longest way from a node that nothing leads to.

    Edges that lead back to where they came from do not count.

    Args:
        count: How many nodes there are; they are called 0, 1, ...
        ends: The edges, each from one node to another.
        first: The nodes from which the search for loops sets out.
        last: The nodes that stand in the last column, whatever leads to them.
    """
    following: list[list[int]] = [[] for _ in range(count)]
    for source, target in ends:
        if source != target and target not in following[source]:
            following[source].append(target)
    order = _order(following, [*first, *range(count)])
    place = {node: index for index, node in enumerate(order)}
    result = [0] * count
    for node in order:
        for target in following[node]:
            if place[target] > place[node]:
                result[target] = max(result[target], result[node] + 1)
    end = max(result, default=0)
    for node in last:
        result[node] = end
    dense = {rank: column for column, rank in enumerate(sorted(set(result)))}
    return [dense[rank] for rank in result]


def _order(following: Sequence[Sequence[int]], roots: Sequence[int]) -> list[int]:
    """Return the nodes so that edges lead onwards, but for those that close a loop."""
    finished: list[int] = []
    seen: set[int] = set()
    for root in roots:
        if root in seen:
            continue
        seen.add(root)
        # No recursion: a chain may be longer than Python's stack.
        stack = [(root, iter(following[root]))]
        while stack:
            node, targets = stack[-1]
            target = next((target for target in targets if target not in seen), None)
            if target is None:
                finished.append(node)
                stack.pop()
            else:
                seen.add(target)
                stack.append((target, iter(following[target])))
    return finished[::-1]
