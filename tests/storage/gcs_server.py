"""Google Cloud Storage's XML interface, as far as the client library speaks it, in memory.

No emulator that a registry offers speaks this interface with multipart uploads: they speak the
JSON interface. So this one was written from Google's description of the XML interface and from
what the client sends. It keeps Google's rules about names of headers, bearer tokens, order, size
and ETags of parts, storage classes, paging, conditions and error documents. It does not know
access rights, versions, encryption keys, retention, or Google's speed and consistency.
"""

import base64
import datetime as dt
import hashlib
import re
import threading
from dataclasses import dataclass, field
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from app.telemetry import utc_now

STORAGE_CLASSES = {"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"}
LEAST_PART = 5 << 20
PAGE = 4  # small, so that every listing of some length takes several


@dataclass
class Stored:
    """One object."""

    data: bytes
    headers: dict[str, str]
    changed: dt.datetime = field(default_factory=utc_now)

    @property
    def etag(self):
        return f'"{hashlib.sha256(self.data).hexdigest()[:32]}"'


@dataclass
class Upload:
    """One multipart upload."""

    key: str
    headers: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


class Refusal(Exception):
    """What the server says instead of doing it."""

    def __init__(self, status, code):
        super().__init__(code)
        self.status, self.code = status, code


class GcsServer:
    """The server, and what it holds."""

    def __init__(self):
        self.token = "a-token"
        self.account_key = None  # public RSA key of a service account
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.uploads: dict[str, Upload] = {}
        self.requests: list[str] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.http.owner = self
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    def answer(self, method, target, headers, body):
        """Return status, headers and body."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query, True).items()}
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        self.requests.append(f"{method} {key}")
        if not self._is_known(headers.get("authorization", "")):
            raise Refusal(401, "AuthenticationRequired")
        if bucket not in self.buckets:
            raise Refusal(404, "NoSuchBucket")
        if not key:
            return self._list(bucket, query)
        upload_id = query.get("uploadId")
        if upload_id is not None:
            return self._part(method, self.buckets[bucket], query, body)
        if method == "POST" and "uploads" in query:
            return self._begin(key, headers)
        return getattr(self, f"_{method.lower()}")(self.buckets[bucket], key, headers, body)

    def _is_known(self, authorization):
        """Know the token, and what a service account signs for itself."""
        token = authorization.removeprefix("Bearer ")
        if token == self.token or self.account_key is None:
            return token == self.token
        text, _, signature = token.rpartition(".")
        signed = base64.urlsafe_b64decode(signature + "==")
        try:
            self.account_key.verify(signed, text.encode(), PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True

    def _put(self, bucket, key, headers, body):
        bucket[key] = Stored(body, _kept(headers))
        return 200, {"ETag": bucket[key].etag, **_hash(body)}, b""

    def _get(self, bucket, key, headers, _body):
        found = self._found(bucket, key)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        if headers.get("if-match", found.etag) != found.etag:
            raise Refusal(412, "PreconditionFailed")
        if not asked:
            return 200, _described(found), found.data
        first, last = int(asked[1]), int(asked[2] or len(found.data) - 1)
        piece = found.data[first : last + 1]
        ends = f"bytes {first}-{first + len(piece) - 1}/{len(found.data)}"
        return 206, {**_described(found), "Content-Range": ends}, piece

    def _head(self, bucket, key, headers, body):
        return self._get(bucket, key, headers, body)

    def _delete(self, bucket, key, _headers, _body):
        self._found(bucket, key)
        del bucket[key]
        return 204, {}, b""

    def _found(self, bucket, key):
        if key not in bucket:
            raise Refusal(404, "NoSuchKey")
        return bucket[key]

    def _begin(self, key, headers):
        upload_id = f"upload-{len(self.requests)}"
        self.uploads[upload_id] = Upload(key, _kept(headers))
        text = f"<UploadId>{upload_id}</UploadId><Key>{escape(key)}</Key>"
        return 200, {}, _document("InitiateMultipartUploadResult", text)

    def _part(self, method, bucket, query, body):
        upload = self.uploads.get(query["uploadId"])
        if upload is None:
            raise Refusal(404, "NoSuchUpload")
        if method == "PUT":
            upload.parts[int(query["partNumber"])] = body
            return 200, {"ETag": _etag(body), **_hash(body)}, b""
        del self.uploads[query["uploadId"]]
        if method == "DELETE":
            return 204, {}, b""
        return self._complete(bucket, upload, body.decode())

    def _complete(self, bucket, upload, text):
        numbers = [int(number) for number in re.findall(r"<PartNumber>(\d+)<", text)]
        etags = [etag.replace("&quot;", '"') for etag in re.findall(r"<ETag>(.*?)</ETag>", text)]
        if numbers != sorted(set(numbers)):
            raise Refusal(400, "InvalidPartOrder")
        parts = [upload.parts.get(number) for number in numbers]
        if None in parts or etags != [_etag(part) for part in parts]:
            raise Refusal(400, "InvalidPart")
        if any(len(part) < LEAST_PART for part in parts[:-1]):
            raise Refusal(400, "EntityTooSmall")
        bucket[upload.key] = Stored(b"".join(parts), upload.headers)
        etag = f"<ETag>{escape(bucket[upload.key].etag)}</ETag>"
        return 200, {}, _document("CompleteMultipartUploadResult", etag)

    def _list(self, bucket, query):
        prefix = query.get("prefix", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        names = sorted(key for key in self.buckets[bucket] if key.startswith(prefix))
        names = [key for key in names if key > after]
        page, rest = names[:PAGE], names[PAGE:]
        text = "".join(_entry(key, self.buckets[bucket][key]) for key in page)
        text += f"<IsTruncated>{str(bool(rest)).lower()}</IsTruncated>"
        text += f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if rest else ""
        return 200, {}, _document("ListBucketResult", f"<Name>{bucket}</Name>{text}")


def _kept(headers):
    """Return what an object keeps of the headers of its upload."""
    storage_class = headers.get("x-goog-storage-class", "STANDARD")
    if storage_class not in STORAGE_CLASSES:
        raise Refusal(400, "InvalidStorageClass")
    kept = {name: value for name, value in headers.items() if name.startswith("x-goog-meta-")}
    content_type = headers.get("content-type", "application/octet-stream")
    return {**kept, "Content-Type": content_type, "x-goog-storage-class": storage_class}


def _described(found):
    changed = format_datetime(found.changed, usegmt=True)
    return {**found.headers, **_hash(found.data), "ETag": found.etag, "Last-Modified": changed}


def _entry(key, found):
    changed = found.changed.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return (
        f"<Contents><Key>{escape(key)}</Key><LastModified>{changed}</LastModified>"
        f"<ETag>{escape(found.etag)}</ETag><Size>{len(found.data)}</Size></Contents>"
    )


def _etag(body):
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _hash(body):
    return {"x-goog-stored-content-length": str(len(body))}


def _document(name, text):
    return f"<?xml version='1.0' encoding='UTF-8'?><{name}>{text}</{name}>".encode()


class _Handler(BaseHTTPRequestHandler):
    """Speaks with the client."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        try:
            status, answered, data = self.server.owner.answer(
                self.command, self.path, headers, body
            )
        except Refusal as refusal:
            text = f"<Code>{refusal.code}</Code><Message>No.</Message>"
            status, answered, data = refusal.status, {}, _document("Error", text)
        self._send(status, answered, data)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 - names of the library

    def _send(self, status, headers, data):
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)
        except OSError:  # the client went away
            self.close_connection = True

    def log_message(self, *_):
        pass
