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
    """A chat model on your own server with OpenAI's protocol.

    `resolve_model` makes it for `vllm:NAME`, `lmstudio:NAME` and `llamacpp:NAME`. Unlike `ChatOpenAI`, it always uses Chat
    Completions, and sends the limit of tokens as `max_tokens`, because older servers ignore `max_completion_tokens`.

    Args:
        provider: The kind of server.
        model: The name of the model on the server.
        base_url: The address of the server.
        api_key: The key of the server; any text if it needs none.

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

    # The only way to set the provider that tracers record.
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
        """Return a Runnable whose output matches a schema.

        The default method is `json_schema`: these servers enforce it for all models, while not all models can call tools.

        Args:
            schema: See `ChatOpenAI.with_structured_output`.
            method: How the schema is enforced.
            **kwargs: The other arguments of `ChatOpenAI.with_structured_output`.
        """
        return super().with_structured_output(schema, method=method, **kwargs)
