"""Chat models on servers that you run yourself: vLLM, LM Studio, llama.cpp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from langchain_openai.chat_models.base import BaseChatOpenAI
from typing_extensions import override

if TYPE_CHECKING:
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.runnables import Runnable


class ChatServer(BaseChatOpenAI):
    """A chat model on a server of your own that speaks OpenAI's protocol.

    `resolve_model` makes it for `vllm:NAME`, `lmstudio:NAME` and `llamacpp:NAME`. It differs from `ChatOpenAI` where these
    servers differ from OpenAI: they have Chat Completions, and older ones ignore `max_completion_tokens`, so a limit is sent
    as `max_tokens`.

    Args:
        provider: Which server it is.
        model: The model's name at the server.
        base_url: The server's address.
        api_key: Its key; any text if it needs none.

    Example:
        ```python
        from langchain_moa.members.chat_server import ChatServer

        model = ChatServer(provider="vllm", model="qwen3-8b", base_url="http://localhost:8000/v1", api_key="none")
        print(model.model_name)
        ```
    """

    provider: Literal["llamacpp", "lmstudio", "vllm"]
    use_responses_api: bool | None = False

    @property
    @override
    def _llm_type(self) -> str:
        return self.provider

    # LangChain's only way to tell tracers which provider a model has.
    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = self.provider
        return params

    @override
    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: Literal["function_calling", "json_mode", "json_schema"] = "json_schema",
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Answer in a schema. These servers hold any model to a JSON schema, but not every model can call tools.

        Args:
            schema: As `ChatOpenAI` takes it.
            method: Default: `json_schema`.
            **kwargs: The other arguments of `ChatOpenAI`.
        """
        return super().with_structured_output(schema, method=method, **kwargs)
