"""`make docs`: the map of the pages is whole, and the site builds where its generator is installed."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
needs_sphinx = pytest.mark.skipif(not importlib.util.find_spec("sphinx"), reason="only `make docs` installs Sphinx")


def build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """As the Makefile does."""
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
    where = ["-d", str(site.parent / "doctrees"), str(docs), str(site)]
    return subprocess.run([*command, *where], capture_output=True, text=True, check=False)


def test_the_map_has_every_page_once() -> None:
    linked = re.findall(r"\]\(([\w/-]+\.md)\)", (DOCS / "index.md").read_text())
    pages = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if path.name != "index.md"]
    assert sorted(linked) == sorted(pages)


@needs_sphinx
def test_the_site_has_a_page_for_each_document(tmp_path: Path) -> None:
    done = build(DOCS, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    for document in DOCS.rglob("*.md"):
        assert (tmp_path / "site" / document.relative_to(DOCS)).with_suffix(".html").exists()


@needs_sphinx
@pytest.mark.parametrize("link", ["nowhere.md", "rules.md#nowhere"])
def test_a_link_that_leads_nowhere_is_an_error(link: str, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(DOCS / "conf.py", docs)
    (docs / "index.md").write_text("# Map\n\n## Begin\n\n[rules](rules.md)\n")
    (docs / "rules.md").write_text(f"# Rules\n\n[lost]({link})\n")
    done = build(docs, tmp_path / "site")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
