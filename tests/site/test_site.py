"""The site as ``nox -s docs`` has built it: every link leads somewhere, and nothing comes from elsewhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from markdown import Markdown

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
from source_links import SourceLinks

ROOT = Path(__file__).parents[2]
SITE = ROOT / "site"
LOADED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}
"""What a browser fetches by itself when it shows a page."""


@dataclass
class Page(HTMLParser):
    """What a page links to, what it loads, and which anchors it has."""

    html: str
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        if target := given.get(LOADED.get(tag, "")):
            self.loaded.append(target)
        if target := given.get("href") or given.get("src"):
            self.links.append(target)


@pytest.fixture(scope="module")
def pages() -> dict[Path, Page]:
    found = {path: Page(path.read_text()) for path in SITE.rglob("*.html")}
    assert len(found) > 8, "nothing is built: nox -s docs"
    return found


def broken(pages: dict[Path, Page]) -> list[str]:
    """``page: target`` of every link within the site that no file or anchor answers."""
    wrong = []
    for path, page in pages.items():
        for link in page.links:
            target, anchor = urldefrag(link)
            if urlsplit(link).scheme or path.name == "404.html":  # which knows no place of its own
                continue
            there = (path.parent / unquote(target)).resolve() if target else path
            there = there / "index.html" if there.is_dir() else there
            if not there.is_file() or (
                anchor and there in pages and unquote(anchor) not in pages[there].anchors
            ):
                wrong.append(f"{path.relative_to(SITE)}: {link}")
    return wrong


def test_every_link_and_every_anchor_is_there(pages: dict[Path, Page]) -> None:
    assert sum(len(page.links) for page in pages.values()) > 100
    assert broken(pages) == []


@pytest.mark.parametrize("link", ["gone.html", "index.html#gone", "#gone", "assets/gone.css"])
def test_a_link_that_leads_nowhere_is_found(pages: dict[Path, Page], link: str) -> None:
    planted = Page(f'<a href="{link}">there</a>')

    assert broken(pages | {SITE / "planted.html": planted}) == [f"planted.html: {link}"]


def test_a_page_loads_nothing_from_elsewhere(pages: dict[Path, Page]) -> None:
    elsewhere = [target for page in pages.values() for target in page.loaded if urlsplit(target).netloc]
    styles = "".join(path.read_text() for path in SITE.rglob("*.css"))

    assert elsewhere == [] and "@import" not in styles and "url(http" not in styles


def test_every_document_is_a_page(pages: dict[Path, Page]) -> None:
    documents = {
        path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")
    }

    assert {path.relative_to(SITE) for path in pages} >= documents
    assert not list(SITE.rglob("*.py*")), "programs are no part of the site"


@pytest.mark.parametrize(
    ("document", "without", "within"),
    [
        (
            "[build.py](../../packages/core/build.py), yes",
            '<code title="packages/core/build.py">build.py</code>, yes',
            '<a href="https://host/us/repo/blob/HEAD/packages/core/build.py">build.py</a>, yes',
        ),
        (
            "see [its *data*](../../benchmarks/x.md#gpu)",
            "see <span>its data (<code>benchmarks/x.md</code>)</span>",
            'see <a href="https://host/us/repo/blob/HEAD/benchmarks/x.md#gpu">its <em>data</em></a>',
        ),
        ("[data](../data.md#x)", '<a href="../data.md#x">data</a>', '<a href="../data.md#x">data</a>'),
        (
            "[web](https://x.org/a.py)",
            '<a href="https://x.org/a.py">web</a>',
            '<a href="https://x.org/a.py">web</a>',
        ),
        ("`[a](../../b.py)`", "<code>[a](../../b.py)</code>", "<code>[a](../../b.py)</code>"),
    ],
)
def test_a_link_to_a_source_file_leads_into_the_repository_or_is_code(
    document: str, without: str, within: str
) -> None:
    links = {"": without, "https://host/us/repo/": within}

    for repository, expected in links.items():
        extension = SourceLinks(repository)
        extension.folder = "authors"
        assert Markdown(extensions=[extension]).convert(document) == f"<p>{expected}</p>"
