"""How does a document's link to a source file read on the site? (A hook of mkdocs; see mkdocs.yml.)

On the code host ``[hooks](../packages/core/src/spectranet/hookspecs.py)`` leads to the file. The site holds
documents only: with ``repo_url`` such a link leads into the repository, without it the path is shown as code.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

__all__ = ["SourceLinks", "on_config", "on_page_markdown"]

BEFORE_MKDOCS = 10  # its own treeprocessor, of priority 0, would report such links as broken


class SourceLinks(Extension):
    """Rewrites links that lead out of docs/."""

    def __init__(self, repository: str = "") -> None:
        super().__init__()
        self.repository = repository
        self.folder = ""  # of the page at hand, below docs/

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - the interface's name
        md.treeprocessors.register(_Rewrite(md, self), "source_links", BEFORE_MKDOCS)

    def path_of(self, target: str) -> str:
        """Where in the repository a link leads, or nothing where it stays in docs/ or goes elsewhere."""
        link = urlsplit(target)
        if link.scheme or link.netloc or not link.path or link.path.startswith("/"):
            return ""
        path = posixpath.normpath(posixpath.join("docs", self.folder, link.path))
        return "" if path.startswith(("docs/", "../")) else path


class _Rewrite(Treeprocessor):
    def __init__(self, md: Markdown, links: SourceLinks) -> None:
        super().__init__(md)
        self.links = links

    def run(self, root: Element) -> None:
        for link in list(root.iter("a")):
            target = link.get("href", "")
            if path := self.links.path_of(target):
                if self.links.repository:
                    place = f"#{urlsplit(target).fragment}".rstrip("#")
                    link.set("href", f"{self.links.repository.rstrip('/')}/blob/HEAD/{path}{place}")
                else:
                    _into_code(link, path)


def _into_code(link: Element, path: str) -> None:
    """The link's words as code if they end the path; else the path after the words."""
    words = "".join(link.itertext()).strip()
    is_its_end = f"/{path}".endswith("/" + words.rstrip("/"))
    tail = link.tail
    link.clear()
    link.tail = tail
    if is_its_end:
        link.tag, link.text = "code", words
        link.set("title", path)
    else:
        link.tag, link.text = "span", f"{words} ("
        code = Element("code")
        code.text, code.tail = path, ")"
        link.append(code)


_links = SourceLinks()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    _links.repository = config.repo_url or ""
    config.markdown_extensions.append(_links)
    return config


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    _links.folder = posixpath.dirname(page.file.src_uri)
    return markdown
