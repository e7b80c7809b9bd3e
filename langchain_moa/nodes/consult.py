"""A node of a strategy that has more than one: it works on the state, asks what it has to, and writes what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable, RunnableConfig

from langchain_moa.nodes.calls import introduce
from langchain_moa.nodes.consultation import Consultation
from langchain_moa.state import RunState

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.strategies.inquiry import Inquiry


class Consult(Runnable[RunState, dict[str, Any]]):
    """A node of an aggregation: it runs a piece of work, sync or async, and adds its calls to the account.

    Example:
        ```python
        from langchain_core.messages import HumanMessage
        from langgraph.graph import END

        from langchain_moa import ChatMoA
        from langchain_moa.strategies import Aggregate, Ask, Consult


        class TranslatedFirst:
            models = (None,)

            def add_to(self, builder, mixture):
                builder.add_node("translate", Consult(self._translate, mixture, node="translate"))
                builder.add_node("aggregator", Aggregate.of(mixture, prompt=mixture.shown))
                builder.add_edge("translate", "aggregator")
                builder.add_edge("aggregator", END)
                return "translate"

            def _translate(self, state):
                translated = []
                for reference in state["merged"]:
                    messages = [HumanMessage(f"Translate into English: {reference['text']}")]
                    answer = yield Ask(messages=messages, name="translator")
                    translated.append({**reference, "text": answer["text"] or reference["text"]})
                return {"merged": translated}


        moa = ChatMoA.from_preset("local", aggregation=TranslatedFirst())
        print(moa.invoke("Why is the sky blue?").text)
        ```
    """

    def __init__(
        self, work: Callable[[RunState], Inquiry[dict[str, Any]] | dict[str, Any]], mixture: Mixture, *, node: str
    ) -> None:
        """Make the node.

        Args:
            work: From the state to its update, directly or as an inquiry.
            mixture: Whose node it is.
            node: The node's name.
        """
        self._work = work
        self._mixture = mixture
        self._node = node

    def invoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Do the work."""
        introduce(config, self._mixture)
        consultation = Consultation(self._mixture, input, config or {}, self._node)
        update = consultation.run(self._work, input, given=input, name=self._node)
        return {**update, "steps": consultation.steps}

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Do the work without blocking."""
        introduce(config, self._mixture)
        consultation = Consultation(self._mixture, input, config or {}, self._node)
        update = await consultation.arun(self._work, input, given=input, name=self._node)
        return {**update, "steps": consultation.steps}
