"""A page in the browser that shows pictures while they are made, and takes keys.

It is served on this machine's loopback address alone. Whoever may drive it knows the token in its address, which is
drawn anew each time; and what other pages in the same browser send is refused: they come from another origin, or under
another host's name. For a browser elsewhere: `ssh -L PORT:127.0.0.1:PORT`.

    page ── GET /?token=… ──▶ play.html       one file, nothing from outside
         ── /stream?token=… ─▶ WebSocket      ◀── {title, legend}, then {status} and PNG pictures, the newest only
                                              ──▶ {key, is_down}
"""

import asyncio
import contextlib
import hmac
import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import cv2
from aiohttp import WSMsgType, web

from rlsys.errors import ConfigError
from rlsys.types import Array
from rlsys.viewer.pages import read_page
from rlsys.viewer.screen import CLOSING_KEYS, KeyEvent, Legend, WindowClosed

_HOST = "127.0.0.1"
_NAMES = (_HOST, "localhost")
_LONGEST_MESSAGE_BYTES = 1_024
_LONGEST_KEY = 20
_MOST_WAITING_KEYS = 1_000
_START_S = 10.0


class Browser:
    """Serves one page; a context that ends it. While no page is open, time stands still.

    Attributes:
      url: the page's address, with its token.
    """

    def __init__(self, title: str, *, fps: float = 30.0, legend: Legend = (), port: int = 0) -> None:
        """Prepares the page.

        Args:
          title: its heading.
          fps: pictures per second.
          legend: keys and what they do, besides those that end it.
          port: where it is served; 0 takes a free one.
        """
        self.url = ""
        self._title = title
        self._legend = legend
        self._port = port
        self._period_s = 1.0 / fps
        self._due = 0.0
        self._token = secrets.token_urlsafe(24)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="browser", daemon=True)
        self._runner: web.AppRunner | None = None
        self._pages: set[_Page] = set()
        self._is_open = threading.Event()
        self._is_closed = False
        self._events: deque[KeyEvent] = deque(maxlen=_MOST_WAITING_KEYS)
        self._news: tuple[Array | None, str] = (None, "")
        self._png: tuple[Array | None, bytes] = (None, b"")

    def __enter__(self) -> "Browser":
        """Starts to serve.

        Raises:
          ConfigError: the port is taken.
        """
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(_START_S)
        except OSError as error:
            self._end_loop()
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(
                f"--port {self._port} cannot be had: {reason}. Leave it out for one that is free."
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(_START_S)
        self._end_loop()

    def show(self, frame: Array, status: str = "") -> Sequence[KeyEvent]:
        """Shows a picture and a line of text, and waits until the next is due; see `Screen`.

        The picture must not change afterwards.

        Raises:
          WindowClosed: the user pressed Escape or Q.
        """
        if self._news[0] is not frame or self._news[1] != status:
            self._news = (frame, status)
            self._loop.call_soon_threadsafe(self._wake_pages)
        self._is_open.wait()
        self._due = max(self._due + self._period_s, time.monotonic())
        time.sleep(self._due - time.monotonic() if self._due > time.monotonic() else 0.0)
        if self._is_closed:
            raise WindowClosed
        return [self._events.popleft() for _ in range(len(self._events))]

    async def _start(self) -> None:
        app = web.Application()
        app.add_routes([web.get("/", self._serve_page), web.get("/stream", self._serve_stream)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, _HOST, self._port)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://{_HOST}:{port}/?token={self._token}"

    async def _stop(self) -> None:
        for page in list(self._pages):
            await page.end()
        if self._runner is not None:
            await self._runner.cleanup()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wake_pages(self) -> None:
        for page in self._pages:
            page.news.set()

    def _refuse_strangers(self, request: web.Request) -> None:
        """Refuses who does not know the token, and whom another page or another host's name has led here."""
        knows = hmac.compare_digest(request.query.get("token", "").encode(), self._token.encode())
        if not knows or request.url.host not in _NAMES:
            raise web.HTTPForbidden(text="This page is opened with the whole address that rlsys play printed.")

    async def _serve_page(self, request: web.Request) -> web.Response:
        self._refuse_strangers(request)
        nonce = secrets.token_urlsafe(16)
        allowed = f"script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src blob: data:"
        headers = {
            "Content-Security-Policy": f"default-src 'none'; {allowed}; base-uri 'none'; frame-ancestors 'none'",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        page = read_page("play.html").replace("NONCE", nonce)
        return web.Response(text=page, content_type="text/html", headers=headers)

    async def _serve_stream(self, request: web.Request) -> web.WebSocketResponse:
        self._refuse_strangers(request)
        if request.headers.get("Origin") != f"http://{request.host}":
            raise web.HTTPForbidden(text="Only the page of rlsys play may drive it.")
        socket = web.WebSocketResponse(max_msg_size=_LONGEST_MESSAGE_BYTES, heartbeat=20.0)
        await socket.prepare(request)
        page = _Page(socket)
        self._pages.add(page)
        self._is_open.set()
        sender = asyncio.create_task(self._send(page))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._take(page, message.data)
        finally:
            sender.cancel()
            self._pages.discard(page)
            self._events.extend(KeyEvent(key, is_down=False) for key in sorted(page.held))
            if not self._pages and not self._is_closed:
                self._is_open.clear()
        return socket

    async def _send(self, page: "_Page") -> None:
        """Sends what is new; a slow page misses pictures, and nothing piles up."""
        with contextlib.suppress(ConnectionError):  # the page is gone
            await page.socket.send_json({"title": self._title, "legend": list(self._legend)})
            while True:
                await page.news.wait()
                page.news.clear()
                frame, status = self._news
                if frame is not None:
                    await page.socket.send_json({"status": status})
                    await page.socket.send_bytes(self._encoded(frame))

    def _encoded(self, frame: Array) -> bytes:
        """Returns a picture as PNG, encoded once for all pages; here, and not where the game is played."""
        if self._png[0] is not frame:
            done, encoded = cv2.imencode(".png", frame[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
            assert done, frame.shape
            self._png = (frame, encoded.tobytes())
        return self._png[1]

    def _take(self, page: "_Page", text: str) -> None:
        event = _key_event(text)
        if event is None:
            return
        if event.is_down and event.key in CLOSING_KEYS:
            self._is_closed = True
            self._is_open.set()
        (page.held.add if event.is_down else page.held.discard)(event.key)
        self._events.append(event)


class _Page:
    """One open page.

    Attributes:
      socket: its connection.
      news: there is something that it has not been sent.
      held: keys that are pressed in it.
    """

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.news = asyncio.Event()
        self.news.set()
        self.held: set[str] = set()

    async def end(self) -> None:
        """Tells the page that there is nothing more to come."""
        with contextlib.suppress(ConnectionError):  # it may be gone already
            await self.socket.send_json({"ended": True})
            await self.socket.close()


def _key_event(text: str) -> KeyEvent | None:
    """Returns what a page has sent, None if it is nothing that a page sends."""
    try:
        message: Any = json.loads(text)
        key, is_down = message["key"], message["is_down"]
    except (ValueError, TypeError, KeyError):
        return None
    if isinstance(key, str) and len(key) <= _LONGEST_KEY and isinstance(is_down, bool):
        return KeyEvent(key, is_down)
    return None
