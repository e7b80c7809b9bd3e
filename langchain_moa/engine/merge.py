"""The merge node: closes a layer, filters its references, and decides whether the next layer runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp

from langchain_moa.data.errors import OutOfTimeError, StrategyFailedError, proposers_failed
from langchain_moa.data.redaction import cleanse, describe
from langchain_moa.data.reference import is_reference
from langchain_moa.data.state import emit, references_of, steps_of
from langchain_moa.data.usage import spent_usd
from langchain_moa.data.validation import plain_data
from langchain_moa.engine.consultation import Consultation
from langchain_moa.engine.deciding import answers_before
from langchain_moa.engine.node import Node, NodeSettings
from langchain_moa.engine.progress import RunState
from langchain_moa.engine.tracing import introduce
from langchain_moa.strategies.layer import ClosedLayer, Filtered
from langchain_moa.strategies.registry import name_of

if TYPE_CHECKING:
    from langchain_moa.data.reference import Reference
    from langchain_moa.limits.quorum import Closing


class _MergedLayer(NamedTuple):
    layer: ClosedLayer
    references: list[Reference]
    fell_back: bool
    consultation: Consultation


class Merge(Node):
    """Closes a layer: drops failed references, applies the reference filters in order, and runs the stop condition."""

    def __init__(self, settings: NodeSettings, *, layer: int, num_layers: int, node: str, closing: Closing) -> None:
        """Make the node.

        Args:
            settings: The settings of the mixture's nodes.
            layer: The layer's number, from 1.
            num_layers: The number of layers.
            node: The node's name.
            closing: The rules by which the layer closes.
        """
        self._settings = settings
        self._layer = layer
        self._num_layers = num_layers
        self._node = node
        self._filters = settings.strategies.filters
        # After the last layer, there is no further layer to skip.
        self._stop_when = settings.strategies.stop_when if layer < num_layers else None
        self._closing = closing

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Close the layer."""
        closing = self._close(input, config)
        layer, stopped = closing.layer, None
        # A blind layer may have no good references.
        for strategy in self._filters if layer.references else ():
            with _Failing(strategy, "reference filter", closing):
                result = await closing.consultation.run(strategy, layer, given=layer, name=name_of(strategy))
                layer, stop = _filtered(layer, strategy, result)
                stopped = stopped or stop
        if stopped is None and self._stop_when is not None and (layer.references or layer.earlier):
            with _Failing(self._stop_when, "stop condition", closing):
                result = await closing.consultation.run(self._stop_when, layer, given=layer, name=name_of(self._stop_when))
                stopped = _reason(self._stop_when, result)
        if stopped is None and self._layer < self._num_layers:
            counting = [*answers_before(input, self._layer, self._settings), *layer.references]
            stopped = self._closing.decided(counting, 0)
        return self._closed(closing, layer, stopped)

    def _close(self, state: RunState, config: RunnableConfig | None) -> _MergedLayer:
        introduce(config, self._settings.mixture)
        references = references_of(state)
        of_turn = [reference for reference in references if reference["status"] == "ok"]
        good = [reference for reference in of_turn if reference["layer"] == self._layer]
        previous: list[Reference] = state.get("merged", []) if self._layer > 1 else []
        is_blind = self._layer in self._settings.blind
        # A blind layer adds to the references before it, so these count, too; the next layer, if blind, may add the rest.
        fell_back = len(good) + len(previous if is_blind else ()) < self._settings.min_references
        if fell_back and (is_blind or not previous) and self._layer + 1 not in self._settings.blind:
            raise proposers_failed(references, self._layer, self._settings.min_references, steps_of(state))
        layer = ClosedLayer(
            messages=state["messages"],
            references=previous if fell_back and not is_blind else good,
            number=self._layer,
            num_layers=self._num_layers,
            previous=() if is_blind else previous,
            unfiltered=good,
            earlier=[reference for reference in of_turn if reference["layer"] < self._layer],
            width=len(self._settings.members.layers[self._layer - 1]),
            is_blind=is_blind,
            asked=sum(map(len, self._settings.members.layers[: self._layer])),
            steps=steps_of(state),
        )
        # One share of the deadline for each further layer, and one for the answer.
        parts = self._num_layers - self._layer + 1
        consultation = Consultation(self._settings, state, config or {}, self._node, parts=parts)
        return _MergedLayer(layer, references, fell_back, consultation)

    def _closed(self, closing: _MergedLayer, layer: ClosedLayer, stopped: str | None) -> dict[str, Any]:
        # After the last layer, a request to stop has no effect.
        stopped = (stopped or self._spent(closing)) if self._layer < self._num_layers else None
        kept = [reference["proposer"] for reference in layer.references]
        emit("merged", layer=self._layer, references=kept, fell_back=closing.fell_back, stopped=stopped)
        # Entries for this layer and later ones are left over from an older turn.
        below = (closing.consultation.state.get("passed_on") or [])[: self._layer - 1]
        unseen: list[Reference] = closing.consultation.state.get("merged", []) if layer.is_blind else []
        return {
            "merged": [*unseen, *layer.references],
            "stopped": stopped,
            "notes": None,
            "passed_on": [*below, kept] if self._filters else None,
            "steps": closing.consultation.steps,
        }

    def _spent(self, closing: _MergedLayer) -> str | None:
        """Return the reason to stop if `max_cost_usd` is spent, or else `None`."""
        if (most := self._settings.max_cost_usd) is None:
            return None
        spent = spent_usd([*closing.references, *closing.consultation.all_steps])
        return f"max_cost_usd: {spent:.6f} of {most:g} dollars have been spent" if spent >= most else None


class _Failing:
    """A context manager that turns an error of a strategy into a `StrategyFailedError` that carries the references.

    A strategy that runs out of time is skipped and recorded as a failed step.
    """

    def __init__(self, strategy: Any, role: str, closing: _MergedLayer) -> None:
        self._name = name_of(strategy)
        self._what = f"the {role} {self._name!r}"
        self._closing = closing

    def __enter__(self) -> None:
        """Enter the context."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """Raise an error that names the strategy. Interrupts of the graph pass through."""
        if isinstance(error, OutOfTimeError):
            self._closing.consultation.gave_up(self._name, error)
            return True
        if isinstance(error, Exception) and not isinstance(error, GraphBubbleUp):
            secrets = self._closing.consultation.settings.secrets
            cleanse(error, secrets)
            reason = describe(error, secrets)
            msg = f"{self._what} failed after layer {self._closing.layer.number}: {reason['kind']}: {reason['message']}"
            steps = self._closing.consultation.all_steps
            raise StrategyFailedError(msg, references=self._closing.references, steps=steps) from error
        return False


def stopped_or(after: Sequence[str], following: Sequence[str]) -> Any:
    """Return the routing function of a merge node that may skip the remaining layers.

    Args:
        after: The first nodes of the aggregation.
        following: The first nodes of the next layer.
    """

    def way_on(state: RunState) -> list[str]:
        return [*(after if state.get("stopped") else following)]

    return way_on


def _filtered(layer: ClosedLayer, strategy: Any, result: Any) -> tuple[ClosedLayer, str | None]:
    """Return the layer with a filter's result, and the filter's reason to stop, or `None`.

    Raises:
        TypeError: The filter returned something other than references, or asks to stop without `may_stop`.
    """
    found = result if isinstance(result, Filtered) else Filtered(result)
    references: Any = found.references
    if not isinstance(references, Sequence) or not all(map(is_reference, references)):
        _refuse(result)
    stop = _reason(strategy, found.stop)
    if stop is not None and not getattr(strategy, "may_stop", False):
        msg = "it returned a request to stop, but the graph has no edge for it; give the filter an attribute `may_stop = True`"
        raise TypeError(msg)
    # An empty result is ignored, because the next reader would have no references.
    return (replace(layer, references=plain_data(references)) if references else layer), stop


def _refuse(result: Any) -> NoReturn:
    msg = f"it returned {type(result).__name__}; return a list of references, such as those of the layer or copies of them"
    raise TypeError(msg)


def _reason(strategy: Any, result: Any) -> str | None:
    """Return the reason to stop: a strategy's string, or its name for other true values. `None` for false values."""
    # Other values, such as a match or a NumPy number, are not stored because the state is plain data.
    return (str(result) if isinstance(result, str) else name_of(strategy)) if result else None
