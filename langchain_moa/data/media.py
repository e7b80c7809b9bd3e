"""Media: recognizes content blocks with an image, audio, a video or a file in any provider's format."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGE, AUDIO, VIDEO, FILE = "image", "audio", "video", "file"

_KINDS = {
    **dict.fromkeys(("image", "image_url", "input_image"), IMAGE),
    **dict.fromkeys(("audio", "input_audio"), AUDIO),
    **dict.fromkeys(("video", "video_url"), VIDEO),
    **dict.fromkeys(("file", "input_file", "document"), FILE),
}


def kind_of(block: Any) -> str | None:
    """Return the kind of media in a content block of any provider's format, or `None` for text and unknown blocks."""
    if not isinstance(block, dict):
        return None
    if block.get("type") == "media":  # Google's
        return _kind_of_mime_type(str(block.get("mime_type")))
    if block.get("type") is None:  # Bedrock's
        return next((kind for name, kind in _KINDS.items() if name in block), None)
    if text_of(block) is not None:
        return None
    return _KINDS.get(str(block["type"]))


def text_of(block: Mapping[str, Any]) -> str | None:
    """Return the text of a text block in any provider's format, or `None` for other blocks."""
    match block:
        case {"type": "text" | "input_text" | "text-plain", "text": str(text)}:
            found: str | None = text
        case {"type": "document", "source": {"type": "text", "data": str(text)}}:
            found = text
        case {"type": "document", "source": {"type": "content", "content": str(text)}}:
            found = text
        case {"type": "document", "source": {"type": "content", "content": list(parts)}}:
            found = "\n".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))
        case {"type": "text-plain" | "file", "base64": str(data), "mime_type": str(mime)} if mime.startswith("text/"):
            found = _decoded(data)
        case {"text": str(text), **rest} if not rest:
            found = text
        case _:
            found = None
    return found


def _decoded(data: str) -> str | None:
    try:
        return base64.b64decode(data).decode()
    except ValueError:
        return None


def _kind_of_mime_type(mime: str) -> str:
    first = mime.partition("/")[0]
    return first if first in {IMAGE, AUDIO, VIDEO} else FILE
