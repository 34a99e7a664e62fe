"""A real HTTP server with the query API of Prometheus, whose answers the embedded evaluator gives."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from actuator import promql
from actuator.data.formats import as_json
from actuator.data.query import LocalQuery, QueryError
from actuator.data.store import Store


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    form: dict[str, str]
    client: tuple[str, int]


@dataclass
class PromServer:
    """`envelopes`: what to answer to these queries instead of what is true."""

    store: Store
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    envelopes: dict[str, object] = field(default_factory=dict)

    @property
    def queries(self) -> list[str]:
        return [request.form["query"] for request in self.requests]

    def answer(self, form: dict[str, str]) -> tuple[int, object]:
        """HTTP status and body."""
        text = form["query"]
        if text in self.envelopes:
            return 200, self.envelopes[text]
        try:
            result = LocalQuery(self.store).result(promql.compile(text), float(form["time"]))
        except promql.PromqlError as error:
            return 400, {"status": "error", "errorType": "bad_data", "error": str(error)}
        except QueryError as error:
            return 422, {"status": "error", "errorType": "execution", "error": str(error)}
        return 200, {"status": "success", "data": json.loads(as_json(result)), "infos": ["PromQL info: harmless"]}


@contextmanager
def serving(store: Store) -> Iterator[PromServer]:
    """A server on this machine."""
    server = PromServer(store)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body, strict_parsing=True).items()}
            server.requests.append(Request(self.path, dict(self.headers), form, self.client_address))
            status, envelope = server.answer(form)
            content = json.dumps(envelope).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server.url = f"http://127.0.0.1:{listener.server_port}"
        listener.daemon_threads = True
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()
