"""What surrounds the body of a page: one HTML file that asks for nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path

__all__ = ["contents", "document", "write_page"]


def document(title: str, body: str, style: str = "") -> str:
    """The whole HTML, with the style sheet of all pages, then ``style``."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title>\n<style>\n{_part('style.css')}{style}</style></head>\n"
        f"<body><main>{body}</main>\n<script>\n{_part('clips.js')}</script></body></html>\n"
    )


def contents(sections: Mapping[str, str]) -> str:
    """Links to the sections that are there; each begins with an element that has an id."""
    links = []
    for title, html in sections.items():
        identity = re.match(r'<\w+ id="([a-z0-9-]+)"', html)
        if identity:
            links.append(f'<a href="#{identity[1]}">{escape(title)}</a>')
    return f"<nav>{''.join(links)}</nav>"


def write_page(path: Path, html: str) -> None:
    """Replace the page at once, so that a browser never sees half of it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(html, encoding="utf-8")
    unfinished.replace(path)


def _part(name: str) -> str:
    return files("spectranet.report").joinpath(name).read_text(encoding="utf-8")
