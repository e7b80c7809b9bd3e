"""Embeddings by name, which are known by it wherever they are compared, described or recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings
from typing_extensions import override

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True)
class NamedEmbeddings(Embeddings):
    """Embeddings that were given as a string.

    Attributes:
        name: The string.
        model: What LangChain's `init_embeddings` makes of it.
    """

    name: str
    model: Embeddings = field(repr=False, compare=False)

    @classmethod
    def of(cls, name: str) -> Self:
        """Make the embeddings that a string names.

        Args:
            name: `provider:model`.

        Raises:
            ValueError: There are no such embeddings, or a key is missing.
            ImportError: The provider's package is missing; the text has the pip command.
        """
        from langchain.embeddings import init_embeddings

        try:
            model = init_embeddings(name)
        except ImportError:
            raise
        except Exception as error:
            msg = f"{name!r} is neither 'lexical' nor 'ordered' nor embeddings as `init_embeddings` takes them: {error}"
            raise ValueError(msg) from error
        return cls(name, model)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the name: clients cannot be pickled."""
        return type(self).of, (self.name,)

    @override
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.model.embed_documents(texts)

    @override
    def embed_query(self, text: str) -> list[float]:
        return self.model.embed_query(text)

    @override
    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return await self.model.aembed_documents(texts)

    @override
    async def aembed_query(self, text: str) -> list[float]:
        return await self.model.aembed_query(text)


def name_of_embeddings(embeddings: Embeddings) -> str:
    """Return what embeddings are called: the string that they were given by, or their class."""
    return embeddings.name if isinstance(embeddings, NamedEmbeddings) else type(embeddings).__name__
