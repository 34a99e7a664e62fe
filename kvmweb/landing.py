"""The landing page: what this program is, and where its pages are (pure)."""

from __future__ import annotations

from html import escape

_OWN_LINKS = (
    ("/metrics", "the metrics, for Prometheus"),
    ("/-/healthy", "answers while the process is alive"),
    ("/-/ready", "says whether it has started, or what it waits for"),
)

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem }}
small {{ font-weight: normal; opacity: 0.6 }}
</style>
</head>
<body>
<h1>{title} <small>{version}</small></h1>
<p>{summary}</p>
<ul>
{items}
</ul>
</body>
</html>
"""


def html(*, title: str, version: str, summary: str, links: tuple[tuple[str, str], ...]) -> bytes:
    """The page, with the server's own links first; `links` are `(url, meaning)`."""
    items = (
        f'<li><a href="{escape(url)}">{escape(url)}</a>: {escape(meaning)}</li>' for url, meaning in _OWN_LINKS + links
    )
    page = _PAGE.format(title=escape(title), version=escape(version), summary=escape(summary), items="\n".join(items))
    return page.encode()
