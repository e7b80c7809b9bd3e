"""Content blocks: converts the blocks of user messages and tool results from one provider's format to another's."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

from langchain_moa.data.media import FILE, IMAGE, kind_of, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models.model_profile import ModelProfile

    from langchain_moa.members.dialects import Dialect

Block = dict[str, Any]


def adapted(content: str | list[Any], dialect: Dialect, profile: ModelProfile | None, *, in_result: bool) -> str | list[Any]:
    """Convert the content of a message to a format that a member takes.

    Blocks in the format of the member's provider are kept as they are; for members of unknown providers, all blocks are. Media
    that the member does not take are replaced by a note.

    Args:
        content: The content of a user message, a tool result or a system message.
        dialect: What the member's client takes.
        profile: The capabilities of the member's model, if known.
        in_result: Whether the message is a tool result.
    """
    if isinstance(content, str):
        return content
    blocks = [_adapted(_as_block(each), dialect, profile, in_result=in_result) for each in content]
    if dialect.strings_only and all(block.get("type") == "text" for block in blocks):
        return "\n".join(str(block.get("text") or "") for block in blocks)
    return blocks


def standard(block: Block) -> Block:
    """Convert a block to LangChain's standard format. Blocks of unknown formats are returned as they are.

    Args:
        block: A block in the format of Anthropic, OpenAI, Google or Bedrock, or in LangChain's standard format, old or new.
    """
    if (text := text_of(block)) is not None:
        return {"type": "text", "text": text}
    kind = kind_of(block)
    if kind is None:
        return block
    data = _data_of(block, kind)
    return block if data is None else {"type": kind, **data}


def _as_block(block: Any) -> Block:
    return block if isinstance(block, dict) else {"type": "text", "text": str(block)}


def _adapted(block: Block, dialect: Dialect, profile: ModelProfile | None, *, in_result: bool) -> Block:
    kind = kind_of(block)
    if kind is not None and not dialect.takes(kind, profile, in_result=in_result):
        return {"type": "text", "text": f"[{_name(block, kind)} omitted: this model cannot take it]"}
    family = _family_of(block)
    if dialect.family == "any" or (family and family == dialect.family):
        return block
    if block.get("type") == "text":
        kept = {"cache_control"} if dialect.cache_control else set()
        return {key: value for key, value in block.items() if key in {"type", "text", *kept}}
    made = standard(block)
    # A file id is valid for one provider only, and an `image_url` block cannot have one.
    is_lost = kind == IMAGE and dialect.image_urls and not {"url", "base64"} & made.keys()
    if made is block or is_lost:
        return {"type": "text", "text": f"[{_name(block, kind)} omitted: this model cannot take it]"}
    return _in_dialect(made, dialect, kind)


def _name(block: Mapping[str, Any], kind: str | None) -> str:
    return str(block.get("type") or kind or "content").replace("_", " ")


def _in_dialect(block: Block, dialect: Dialect, kind: str | None) -> Block:
    """Convert a standard block for a provider: images to `image_url` blocks, files to files with a name."""
    if kind == IMAGE and dialect.image_urls:
        url = block.get("url") or f"data:{block.get('mime_type') or 'image/png'};base64,{block.get('base64')}"
        return {"type": "image_url", "image_url": {"url": url}}
    if kind == FILE and "base64" in block and dialect.family == "openai":
        return {"filename": "document.pdf", **block}
    if kind == FILE and "base64" in block and dialect.family == "bedrock":  # allows few characters in a name
        stem = str(block.get("filename") or "document").partition(".")[0]
        return {**block, "name": re.sub(r"[^A-Za-z0-9-]+", "-", stem)}
    return block


def _family_of(block: Mapping[str, Any]) -> str:
    """Return the provider whose format a block has; empty for text and for LangChain's standard blocks."""
    if block.get("type") is None:
        return "bedrock"
    kind = str(block["type"])
    if kind == "media":
        return "google"
    if kind in {"image_url", "input_image", "input_audio", "input_file", "input_text"} or "file" in block:
        return "openai"
    if isinstance(block.get("source"), dict) or kind in {"document", "search_result"}:
        return "anthropic"
    return ""


def _data_of(block: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """Return the standard fields of a media block (address, or data and type), or `None` for unknown formats."""
    for form in (_of_standard, _of_anthropic, _of_openai, _of_google, _of_bedrock):
        if (found := form(block, kind)) is not None:
            return found
    return None


def _of_standard(block: Mapping[str, Any], _: str) -> dict[str, Any] | None:
    match block:
        case {"base64": str(data)} | {"url": str(data)} | {"file_id": str(data)} if data:
            found = {key: block[key] for key in ("base64", "url", "file_id", "mime_type", "filename") if block.get(key)}
            return {key: value for key, value in found.items() if isinstance(value, str)}
        case {"source_type": "base64", "data": str(data)}:  # before version 1
            return {"base64": data, **_mime(block.get("mime_type"))}
    return None


def _of_anthropic(block: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    match block:
        case {"source": {"type": "base64", "data": str(data)} as source}:
            return {"base64": data, **_mime(source.get("media_type")), **_named(block.get("title"), kind)}
        case {"source": {"type": "url", "url": str(url)}}:
            return {"url": url}
    return None


def _of_openai(block: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    match block:
        case {"image_url": {"url": str(url)}} | {"image_url": str(url)} | {"file_url": str(url)}:
            return _of_url(url)
        case {"input_audio": {"data": str(data)} as audio}:
            return {"base64": data, **_mime(f"audio/{audio.get('format') or 'wav'}")}
        case {"file": {"file_data": str(url)} as file} | ({"type": "input_file", "file_data": str(url)} as file):
            return {**_of_url(url), **_named(file.get("filename"), kind)}
    return None


def _of_google(block: Mapping[str, Any], _: str) -> dict[str, Any] | None:
    match block:
        case {"type": "media", "data": str() | bytes() as data}:
            return {"base64": _encoded(data), **_mime(block.get("mime_type"))}
        case {"type": "media", "file_uri": str(url)}:
            return {"url": url, **_mime(block.get("mime_type"))}
    return None


def _of_bedrock(block: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    match block.get("document" if kind == FILE else kind):
        case {"source": {"bytes": str() | bytes() as data}, **part}:
            mime = "application" if kind == FILE else kind
            form = part.get("format")
            return {"base64": _encoded(data), **_mime(form and f"{mime}/{form}"), **_named(part.get("name"), kind)}
    return None


def _of_url(url: str) -> dict[str, Any]:
    head, comma, data = url.partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        return {"base64": data, **_mime(head.removeprefix("data:").removesuffix(";base64"))}
    return {"url": url}


def _encoded(data: str | bytes) -> str:
    return data if isinstance(data, str) else base64.b64encode(data).decode()


def _mime(value: Any) -> dict[str, str]:
    return {"mime_type": str(value)} if value else {}


def _named(value: Any, kind: str) -> dict[str, str]:
    return {"filename": str(value)} if value and kind == FILE else {}
