"""Media files inside JSON, and how their formats are told apart."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from quire.errors import InvalidSample
from quire.modality.base import typename

if TYPE_CHECKING:
    from pathlib import Path

    from quire.storage import JSON


MAX_MEDIA_BYTES = 2**28
"""The most bytes that one media field of a JSON request may hold, decoded."""


def media_payload(media_type: str, raw: bytes) -> dict[str, Any]:
    """A media file in JSON."""
    return {"data": base64.b64encode(raw).decode("ascii"), "media_type": media_type}


def media_bytes(data: JSON) -> bytes:
    """The file that JSON holds; InvalidSample for other JSON, and for more than MAX_MEDIA_BYTES."""
    if not isinstance(data, dict) or not isinstance(data.get("data"), str):
        raise InvalidSample(f'expected {{"data": base64 text, "media_type": text}}, got {typename(data)}')
    text: str = data["data"]
    if len(text) * 3 // 4 > MAX_MEDIA_BYTES:
        raise InvalidSample(f"about {len(text) * 3 // 4} bytes are more than the {MAX_MEDIA_BYTES} that are allowed")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidSample(f'"data" is not base64 ({error})') from error


def media_schema(description: str) -> dict[str, Any]:
    """The JSON schema of a media file."""
    return {
        "type": "object",
        "description": description,
        "properties": {
            "data": {"type": "string", "contentEncoding": "base64", "minLength": 1},
            "media_type": {"type": "string"},
        },
        "required": ["data"],
    }


def first_bytes(source: Path | bytes) -> bytes:
    """The first twelve bytes, where formats write their names; InvalidSample for an empty file."""
    if isinstance(source, bytes):
        head = source[:12]
    else:
        with source.open("rb") as file:
            head = file.read(12)
    if not head:
        raise InvalidSample("the file is empty")
    return head
