"""The file of --web.config.file, in the format of Prometheus' exporter-toolkit (its docs/web-configuration.md).

What it can say and this server cannot do is refused, with the reason; what needs nothing done is a warning. Either way
everything is named at once, with line and column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kvmhost.units import duration_seconds
from kvmhost.yamltree import InvalidConfig, Node, Problem, Tree
from kvmweb import passwords, tlsconfig
from kvmweb.tls import Tls
from kvmweb.tlsconfig import ReadFile, boolean

KEYS = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""The headers that may be set, and their values where these are few."""

_SLOW_COST = 15  # 2 s a check and more


@dataclass(frozen=True, kw_only=True)
class RateLimit:
    """At most `burst` requests at once, and one each `interval_seconds` on average."""

    interval_seconds: float
    burst: int


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """What the file says; an empty one asks for nothing."""

    tls: Tls | None = None
    headers: tuple[tuple[str, str], ...] = ()
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Users and the bcrypt hashes of their passwords; without any, nobody is asked."""
    rate_limit: RateLimit | None = None
    warnings: tuple[Problem, ...] = ()

    @property
    def protections(self) -> frozenset[str]:
        """The keys that keep someone out."""
        found = {
            "tls_server_config": self.tls is not None,
            "client_auth_type": self.tls is not None and self.tls.verifies_clients,
            "client_allowed_sans": self.tls is not None and bool(self.tls.client_allowed_sans),
            "basic_auth_users": bool(self.users),
        }
        return frozenset(key for key, is_on in found.items() if is_on)


def parse(file: Path, text: str, read_file: ReadFile) -> WebConfig:
    """The configuration in `text`, with the files that it names; `InvalidConfig` has every problem."""
    tree = Tree(str(file), text, may_be_empty=True)
    fields = {} if tree.root is None else tree.fields(tree.root, "the web configuration", (), KEYS)
    section = fields.get("tls_server_config")
    users = _users(tree, fields.get("basic_auth_users"))
    if users and section is None:
        tree.warn(fields["basic_auth_users"], "without tls_server_config, passwords cross the network in clear")
    config = WebConfig(
        tls=None if section is None else tlsconfig.read(tree, section, file.parent, read_file),
        headers=_headers(tree, fields.get("http_server_config")),
        users=users,
        rate_limit=_rate_limit(tree, fields.get("rate_limit")),
        warnings=tuple(tree.warnings),
    )
    if tree.problems:
        raise InvalidConfig(tree.problems)
    return config


def _headers(tree: Tree, node: Node | None) -> tuple[tuple[str, str], ...]:
    if node is None:
        return ()
    fields = tree.fields(node, "http_server_config", (), ("http2", "headers"))
    if tree.scalar(fields.get("http2"), "http2", boolean):
        tree.warn(fields["http2"], "http2: true has no effect: HTTP/1.1 is spoken, which every scraper can")
    if "headers" not in fields:
        return ()
    headers = tree.fields(fields["headers"], "headers", (), HEADERS)
    values = {name: tree.scalar(value, name, _header_value(name)) for name, value in headers.items()}
    return tuple((name, value) for name, value in values.items() if value is not None)


def _users(tree: Tree, node: Node | None) -> dict[str, str]:
    if node is None:
        return {}
    users: dict[str, str] = {}
    for name, (key, value) in tree.entries(node, "basic_auth_users").items():
        if ":" in name:
            tree.error(key, "a user name has no colon: basic authentication ends it there")
        text = tree.scalar(value, f"the password of {name!r}", passwords.checked_hash)
        if text is None:
            continue
        users[name] = text
        cost = passwords.cost(text)
        if cost >= _SLOW_COST:
            tree.warn(value, f"the hash has cost {cost}: a check takes seconds; 10 to 12 is usual")
    return users


def _rate_limit(tree: Tree, node: Node | None) -> RateLimit | None:
    if node is None:
        return None
    fields = tree.fields(node, "rate_limit", (), ("interval", "burst"))
    interval = tree.scalar(fields.get("interval"), "interval", _interval_seconds)
    burst = tree.scalar(fields.get("burst"), "burst", _burst)
    if not interval:
        return None
    if "burst" not in fields:
        tree.error(node, "rate_limit has no 'burst', how many requests may come at once: write at least 1")
    return None if burst is None else RateLimit(interval_seconds=interval, burst=burst)


def _header_value(name: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        allowed = HEADERS[name]
        if allowed and text not in allowed:
            raise ValueError(f"{text!r} is not one of: {', '.join(allowed)}")
        if not (text.isascii() and text.isprintable()):
            raise ValueError("a header is one line of ASCII")
        return text

    return parse


def _interval_seconds(text: str) -> float:
    """0 is no limit."""
    return 0.0 if text == "0" else duration_seconds(text)


def _burst(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**31):
        raise ValueError(f"{text!r} is not a whole number of at least 1")
    return int(text)
