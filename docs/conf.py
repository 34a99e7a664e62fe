"""How `make docs` makes a site of these pages, with Sphinx: plain Markdown in, warnings are errors.

What Markdown cannot say is added here: the order of the pages is that of the links in index.md, below its headings.
So a page that the map does not have is an error, too. What is not in docs/ has no page: links to directories and
documents there become plain text, and those to files are downloads.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

project = "kvmtune"
extensions = ["myst_parser"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "kvmtune"
html_copy_source = False
html_show_copyright = False

DOCS = Path(__file__).parent


def prepare(_app: Sphinx, page: str, source: list[str]) -> None:
    """Make of a page that reads well on its own one of the site; `source` is replaced in place."""
    place = (DOCS / page).parent

    def without_elsewhere(link: re.Match[str]) -> str:
        target = (place / link["target"]).resolve()
        has_no_page = target.is_dir() or (target.suffix == ".md" and not target.is_relative_to(DOCS))
        return link["text"] if has_no_page else link[0]

    source[0] = re.sub(r"\[(?P<text>[^]]+)\]\((?P<target>[^)#:]+)\)", without_elsewhere, source[0])
    if page == "index":
        source[0] += "".join(contents(section) for section in source[0].split("\n## ")[1:])


def contents(section: str) -> str:
    """A hidden table of contents, which the sidebar is made of: the pages that a section of the map links."""
    caption = section.partition("\n")[0]
    pages = dict.fromkeys(re.findall(r"\]\(([\w/-]+)\.md\)", section))
    return "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", prepare)
