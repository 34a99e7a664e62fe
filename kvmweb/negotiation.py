"""What a scraper accepts: the metrics format and compression that its request headers allow (pure).

As Prometheus' own programs decide it (expfmt.NegotiateAccept of prometheus/common), and RFC 9110, section 12.5.
"""

from __future__ import annotations

from typing import NamedTuple

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_TEXT_VERSIONS = ("", "0.0.4")
_OPENMETRICS_VERSIONS = ("", "0.0.1", "1.0.0")


class _Clause(NamedTuple):
    """One alternative of an Accept header, in lower case; of quality 0 is what the client refuses."""

    value: str
    version: str
    quality: float


def wants_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics is what an Accept header likes best; a wildcard means the text format."""
    best_first = sorted(_clauses(accept), key=lambda clause: (-clause.quality, clause.value.count("*")))
    for value, version, quality in best_first:
        if not quality:
            break
        if value == "application/openmetrics-text" and version in _OPENMETRICS_VERSIONS:
            return True
        if value in ("text/*", "*/*") or (value == "text/plain" and version in _TEXT_VERSIONS):
            return False
    return False


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header allows gzip; none does not."""
    quality = {clause.value: clause.quality for clause in _clauses(accept_encoding)}
    return quality.get("gzip", quality.get("*", 0.0)) > 0


def _clauses(header: str) -> list[_Clause]:
    clauses = []
    for alternative in header.lower().split(","):
        value, *parameters = (word.strip() for word in alternative.split(";"))
        named = {name.strip(): text.strip() for name, _, text in (one.partition("=") for one in parameters)}
        clauses.append(_Clause(value, named.get("version", ""), _quality(named.get("q", "1"))))
    return clauses


def _quality(text: str) -> float:
    """0 to 1; as in Go's parser, what is malformed counts as 1."""
    try:
        quality = float(text)
    except ValueError:
        return 1.0
    return quality if 0 <= quality <= 1 else 1.0
