"""A proxy on the loopback interface that spoils chosen requests on their way to a real server."""

import http.client
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HOP = {"connection", "transfer-encoding", "keep-alive"}


class FaultProxy:
    """Forwards every request, but those that ``spoil`` answers with a fault for.

    Faults: a status number; ``drop`` (half of the body is read, then the connection ends);
    ``stall`` (nothing is read or said); ``hold`` (it goes on after ``released``); ``lose`` (the
    server does it, its answer is lost); ``corrupt`` (one byte of the body is another); ``cut``
    (half of the answer's body).
    """

    def __init__(self, url):
        self.target = urlsplit(url).netloc
        self.requests = []
        self.spoil = lambda request: None  # noqa: ARG005 - replaced by tests
        self.stalled = threading.Event()
        self.released = threading.Event()
        self.over = threading.Event()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.http.proxy = self
        self.http.daemon_threads = True
        self.http.block_on_close = False
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.http.shutdown()
        self.http.server_close()

    def first(self, count, fault, method="PUT"):
        """Spoil the first requests of a method."""
        left = iter(range(count))
        lock = threading.Lock()

        def spoil(request):
            if request.method != method:
                return None
            with lock:
                return fault if next(left, None) is not None else None

        self.spoil = spoil

    def seen(self, method):
        """Return the requests of a method."""
        return [request for request in self.requests if request.method == method]


class Request:
    """One request as it came."""

    def __init__(self, method, target, headers):
        self.method, self.target = method, target
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = b""


class _Handler(BaseHTTPRequestHandler):
    """Speaks with the client."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        request = Request(self.command, self.path, dict(self.headers.items()))
        self.server.proxy.requests.append(request)
        fault = self.server.proxy.spoil(request)
        length = int(request.headers.get("content-length", 0))
        if fault == "hold":
            self.server.proxy.stalled.set()
            self.server.proxy.released.wait(30)
        if fault == "stall":
            self.server.proxy.stalled.set()
            self.server.proxy.over.wait(30)
        if fault == "drop":
            self.rfile.read(length // 2)
        if fault in {"stall", "drop"}:
            return self._hang_up()
        request.body = self.rfile.read(length)
        if fault == "corrupt" and request.body:
            request.body = request.body[:-1] + bytes([request.body[-1] ^ 1])
        if isinstance(fault, int):
            return self._answer(fault, {}, _document(fault))
        status, headers, data = self._forward(request)
        if fault == "lose":
            return self._hang_up()
        return self._answer(status, headers, data, is_cut=fault == "cut")

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 - names of the library

    def _forward(self, request):
        onward = http.client.HTTPConnection(self.server.proxy.target, timeout=30)
        try:
            onward.request(request.method, request.target, request.body, request.headers)
            answer = onward.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            onward.close()

    def _answer(self, status, headers, data, *, is_cut=False):
        length = {name.lower(): value for name, value in headers.items()}.get("content-length")
        try:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in {*HOP, "content-length", "date", "server"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[: len(data) // 2] if is_cut else data)
        except OSError:
            self.close_connection = True
        if is_cut:
            self._hang_up()

    def _hang_up(self):
        self.close_connection = True
        try:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def log_message(self, *_):
        pass


def _document(status):
    code = {403: "AccessDenied", 503: "SlowDown"}.get(status, "Broken")
    text = f"<Error><Code>{code}</Code><Message>secret-of-the-server</Message></Error>"
    return text.encode()
