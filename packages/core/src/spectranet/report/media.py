"""How does a page show a picture, a sound, a clip or a text? All of it inside the page.

An item is a dictionary, so that it can be kept as JSON: ``kind`` is ``text`` with ``text``,
``pieces`` with ``pieces``, ``image``/``audio``/``video`` with ``uri``, or ``none`` with ``note``.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["LARGEST_ITEM_B", "Budget", "embedded", "media", "of_pieces"]

LARGEST_ITEM_B = 300_000
_LONGEST_TEXT = 300
_MOST_PIECES = 160
_EMBEDDED = re.compile(r"data:(image|audio|video)/[a-z0-9.+-]+;base64,[A-Za-z0-9+/=]*")


class Budget:
    """How many bytes a page may still take."""

    def __init__(self, left_B: int) -> None:
        self.left_B = left_B

    def refusal(self, size_B: int) -> str:
        """Why ``size_B`` more bytes are too many, or an empty string and they are taken."""
        if size_B > LARGEST_ITEM_B:
            return f"{size_B / 1000:.0f} kB, too large to show"
        if size_B > self.left_B:
            return "left out: the page is large enough"
        self.left_B -= size_B
        return ""


def embedded(content: bytes, modality: str, budget: Budget) -> dict[str, Any]:
    """An item for an encoded file or a text, by its first bytes; a browser decodes it."""
    media_type = _media_type(content)
    if media_type is None:
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            return {"kind": "none", "note": f"{len(content)} bytes of a form that is not shown"}
        return {"kind": "text", "text": text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…"}
    refusal = budget.refusal(len(content))
    if refusal:
        return {"kind": "none", "note": refusal}
    kind = media_type.partition("/")[0]
    if modality == "audio" and kind == "video":
        kind = "audio"  # a sound track: what the model heard, without what it did not see
    return {"kind": kind, "uri": f"data:{media_type};base64,{base64.b64encode(content).decode()}"}


def of_pieces(pieces: Sequence[tuple[str, bool]]) -> dict[str, Any]:
    """An item for a text in pieces, each with whether it is hidden."""
    shown = [(str(text), bool(hidden)) for text, hidden in pieces[:_MOST_PIECES]]
    return {"kind": "pieces", "pieces": shown, "more": len(pieces) - len(shown)}


def media(item: Mapping[str, Any]) -> str:
    """The HTML of an item. What it holds is checked: it may come from a file that others wrote."""
    kind, uri = item.get("kind"), str(item.get("uri", ""))
    if kind == "text":
        return f'<span class="words">{escape(str(item.get("text", "")))}</span>'
    if kind == "pieces":
        return _pieces(item)
    if kind in ("image", "audio", "video") and _EMBEDDED.fullmatch(uri):
        if kind == "image":
            return f'<img alt="{escape(str(item.get("key", "")))}" src="{uri}">'
        if kind == "audio":
            return f'<audio controls preload="none" src="{uri}"></audio>'
        return f'<video muted loop controls playsinline preload="metadata" src="{uri}"></video>'
    return f'<span class="absent">{escape(str(item.get("note", "cannot be shown")))}</span>'


def _pieces(item: Mapping[str, Any]) -> str:
    shown = "".join(
        f"<mark>{escape(str(text))}</mark>" if hidden else f"<i>{escape(str(text))}</i>"
        for text, hidden in item.get("pieces", ())
    )
    more = int(item.get("more", 0))
    rest = f' <span class="absent">and {more:,} more</span>' if more else ""
    return f'<span class="pieces">{shown}</span>{rest}'


def _media_type(content: bytes) -> str | None:
    """The type that the first bytes tell, of those that browsers show."""
    for start, media_type in (
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"fLaC", "audio/flac"),
        (b"OggS", "audio/ogg"),
        (b"ID3", "audio/mpeg"),
        (b"\x1a\x45\xdf\xa3", "video/webm"),
    ):
        if content.startswith(start):
            return media_type
    if content[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(content[8:12])
    if content[4:8] == b"ftyp":
        return {b"avif": "image/avif", b"M4A ": "audio/mp4"}.get(content[8:12], "video/mp4")
    return None
