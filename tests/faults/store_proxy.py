"""A loopback proxy between boto3 and the S3 server of the tests, which breaks what a test tells it to break.

    store_proxy.inject(slow_down, on="PUT .*/manifests/", times=3)

Requests are passed on with the Host header that they were signed for, so signatures hold. Objects are small: bodies
are taken whole.
"""

import functools
import http.client
import math
import random
import re
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.support.s3_server import S3Server

FOREVER = math.inf
_HOP_BY_HOP = {"connection", "content-length", "expect", "keep-alive", "transfer-encoding"}
_LINGER_ZERO = struct.pack("ii", 1, 0)  # close() then resets the connection instead of ending it


@dataclass(frozen=True)
class Message:
    """A request or an answer: headers, and the whole body."""

    headers: tuple[tuple[str, str], ...]
    body: bytes
    status: int = 0


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer; a fault decides what becomes of them."""

    protocol_version = "HTTP/1.1"
    server: "StoreProxy"
    request_body: Message

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.request_body = Message(tuple(self.headers.items()), body)
        fault = self.server.choose(f"{self.command} {self.path}")
        fault(self)

    do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = _handle

    def forward(self, request: Message | None = None) -> Message:
        """Has the server do the work; returns its answer."""
        request = request or self.request_body
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers:
                if name.lower() not in _HOP_BY_HOP:
                    upstream.putheader(name, value)
            upstream.putheader("Content-Length", str(len(request.body)))
            upstream.endheaders(request.body)
            answer = upstream.getresponse()
            headers = tuple(item for item in answer.getheaders() if item[0].lower() not in _HOP_BY_HOP)
            return Message(headers, answer.read(), answer.status)
        finally:
            upstream.close()

    def answer(self, answer: Message, num_bytes: int | None = None) -> None:
        """Sends an answer, or its headers and the first bytes of its body only."""
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.status != http.HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[:num_bytes])
        self.wfile.flush()

    def hang_up(self, *, reset: bool = False) -> None:
        """Ends the connection, in order or by a reset (RST)."""
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            self.rfile.close()
            self.wfile.close()
            self.connection.close()
        raise ConnectionAbortedError

    def log_message(self, format: str, *args: object) -> None:
        pass


Fault = Callable[[Exchange], None]


def no_fault(exchange: Exchange) -> None:
    """What becomes of a request that no rule is for."""
    exchange.answer(exchange.forward())


@dataclass
class _Rule:
    fault: Fault
    pattern: re.Pattern[str]
    times: float
    share: float


class StoreProxy(ThreadingHTTPServer):
    """The proxy.

    Attributes:
        endpoint: Its URL.
        upstream: Address of the server behind it.
        seen: All requests, as "METHOD /path?query".
        injected: The faults so far, each with its request; printed as they happen.
    """

    def __init__(self, server: S3Server, seed: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Listens on a free port of 127.0.0.1.

        Args:
            server: What is behind it.
            seed: Of the draws where a rule is for a share of requests.
            tls: With a certificate, to stand as https before the server.
        """
        super().__init__(("127.0.0.1", 0), Exchange)
        if tls is not None:  # each connection's thread shakes hands, with its first read
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.endpoint = f"http{'s' if tls else ''}://127.0.0.1:{self.server_port}"
        self.upstream = urlsplit(server.endpoint).netloc
        self.seen: list[str] = []
        self.injected: list[str] = []
        self._rules: list[_Rule] = []
        self._random, self._lock = random.Random(seed), threading.Lock()

    def inject(self, fault: Fault, on: str = "", times: float = 1, share: float = 1.0) -> None:
        """Adds a rule; of several rules for a request, the one that was added first holds.

        Args:
            fault: What happens.
            on: Regular expression, searched in "METHOD /path?query".
            times: To so many requests.
            share: Of those that match, at random.
        """
        with self._lock:
            self._rules.append(_Rule(fault, re.compile(on), times, share))

    def mend(self) -> None:
        """Removes all rules."""
        with self._lock:
            self._rules.clear()

    def choose(self, request: str) -> Fault:
        """The fault for a request."""
        with self._lock:
            self.seen.append(request)
            for rule in self._rules:
                if rule.times > 0 and rule.pattern.search(request) and self._random.random() < rule.share:
                    rule.times -= 1
                    self.injected.append(f"{_name(rule.fault)}: {request}")
                    print(f"injected {self.injected[-1]}")
                    return rule.fault
        return no_fault

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (as socketserver has it)
        """Connections that break are what the proxy is for; anything else is a fault of its own."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _name(fault: Fault) -> str:
    if isinstance(fault, functools.partial):
        return f"{fault.func.__name__} {fault.keywords}"
    return fault.__name__


@contextmanager
def run_store_proxy(server: S3Server, seed: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[StoreProxy]:
    """Runs a proxy before the server; all its threads end with the process at the latest."""
    with StoreProxy(server, seed, tls) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
