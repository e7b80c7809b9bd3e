"""The opening of an answer: the space between the template's last word and the answer's first is the template's."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from langchain_core.outputs import ChatGeneration

G = TypeVar("G", bound="ChatGeneration")


def opened(generation: G) -> G:
    """Return an answer, or the first chunk of one that says something, without the white space in front.

    A base model goes on from `Answer:` with a space. It would stand in front of every reference that is made of the answer,
    and of every prompt that shows it.

    Args:
        generation: What the model has written; it is not changed.
    """
    content = generation.message.content
    if not isinstance(content, str) or content == content.lstrip():
        return generation
    message = generation.message.model_copy(update={"content": content.lstrip()})
    # Made anew, since a generation keeps its text beside its message.
    return type(generation)(message=message, generation_info=generation.generation_info)
