"""An object store that speaks as much of S3 as checkpoints need: objects in memory, over HTTP, on loopback."""

import contextlib
import io
import itertools
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

BUCKET = "bucket"


class ObjectStore:
    """What is stored, and what happened.

    Attributes:
      uri: of the bucket.
      objects: key -> content.
      written: keys in the order in which they were written.
      fails: HTTP status and S3 error code with which writes are answered; None while all is well.
    """

    def __init__(self, port: int) -> None:
        self.uri = f"s3://{BUCKET}?scheme=http&endpoint_override=127.0.0.1:{port}"
        self.objects: dict[str, bytes] = {}
        self.written: list[str] = []
        self.fails: tuple[int, str] | None = None
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.numbers = itertools.count()

    def put(self, key: str, content: bytes) -> None:
        """Stores an object."""
        self.objects[key] = content
        self.written.append(key)


@contextlib.contextmanager
def serving() -> Iterator[ObjectStore]:
    """Serves an empty store while the context lasts."""

    class Handler(_Handler):
        store: ObjectStore

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Handler.store = ObjectStore(server.server_port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Handler.store
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    store: ObjectStore

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """Answers ListObjectsV2 and GetObject."""
        if self._bucket != BUCKET:
            self._refuse(404, "NoSuchBucket")
        elif not self._key:
            self._list()
        elif self._key not in self.store.objects:
            self._refuse(404, "NoSuchKey")
        else:
            content = self.store.objects[self._key]
            if "Range" in self.headers:
                first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
                content = content[int(first) : int(last) + 1 if last else None]
            self._answer(206 if "Range" in self.headers else 200, content)

    def do_HEAD(self) -> None:
        """Answers HeadObject and HeadBucket."""
        found = self._bucket == BUCKET and (not self._key or self._key in self.store.objects)
        self._answer(200 if found else 404, self.store.objects.get(self._key, b""), send=False)

    def do_PUT(self) -> None:
        """Answers PutObject and UploadPart."""
        content = self._content()
        if self._is_refused():
            return
        if "uploadId" in self._query:
            self.store.uploads[self._query["uploadId"]][int(self._query["partNumber"])] = content
        else:
            self.store.put(self._key, content)
        self._answer(200, b"")

    def do_POST(self) -> None:
        """Answers CreateMultipartUpload, CompleteMultipartUpload and DeleteObjects."""
        content = self._content()
        if self._is_refused():
            return
        if "uploads" in self._query:
            upload = str(next(self.store.numbers))
            self.store.uploads[upload] = {}
            self._answer(200, _xml("InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>"))
        elif "uploadId" in self._query:
            parts = self.store.uploads.pop(self._query["uploadId"])
            self.store.put(self._key, b"".join(parts[number] for number in sorted(parts)))
            self._answer(200, _xml("CompleteMultipartUploadResult", f"<Key>{escape(self._key)}</Key>"))
        else:
            for element in ElementTree.fromstring(content).iter():
                if element.tag.endswith("Key"):
                    self.store.objects.pop(str(element.text), None)
            self._answer(200, _xml("DeleteResult", ""))

    def do_DELETE(self) -> None:
        """Answers DeleteObject."""
        self.store.objects.pop(self._key, None)
        self._answer(204, b"")

    @property
    def _bucket(self) -> str:
        return unquote(urlsplit(self.path).path).split("/")[1]

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).partition("/")[2].partition("/")[2]

    @property
    def _query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}

    def _list(self) -> None:
        prefix, delimiter = self._query.get("prefix", ""), self._query.get("delimiter", "")
        listed, folders = [], set()
        for key in sorted(key for key in self.store.objects if key.startswith(prefix)):
            below = key.removeprefix(prefix)
            if delimiter and delimiter in below:
                folders.add(prefix + below.partition(delimiter)[0] + delimiter)
            else:
                size = len(self.store.objects[key])
                listed.append(f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size></Contents>")
        common = [f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in sorted(folders)]
        count = f"<KeyCount>{len(listed) + len(common)}</KeyCount><IsTruncated>false</IsTruncated>"
        self._answer(200, _xml("ListBucketResult", count + "".join(listed + common)))

    def _content(self) -> bytes:
        """Returns what was sent, without the frames of HTTP and those of S3."""
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        raw = _unframed(self.rfile) if chunked else self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return _unframed(io.BytesIO(raw)) if "aws-chunked" in self.headers.get("Content-Encoding", "") else raw

    def _is_refused(self) -> bool:
        if self._bucket != BUCKET:
            self._refuse(404, "NoSuchBucket")
        elif self.store.fails is not None:
            self._refuse(*self.store.fails)
        return self._bucket != BUCKET or self.store.fails is not None

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, _xml("Error", f"<Code>{code}</Code><Message>The store says {code}.</Message>"))

    def _answer(self, status: int, content: bytes, *, send: bool = True) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if send:
            self.wfile.write(content)


def _unframed(stream: io.BufferedIOBase) -> bytes:
    """Reads frames, each with its size in hexadecimal before it, up to the empty one and what trails it."""
    content = b""
    while size := int(stream.readline().partition(b";")[0], 16):
        content += stream.read(size)
        stream.readline()
    while stream.readline().strip():
        continue
    return content


def _xml(name: str, content: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><{name}>{content}</{name}>'.encode()
