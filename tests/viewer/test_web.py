"""The page of `rlsys play --web`: who may drive it, and that real keys in a real browser play."""

import asyncio
import contextlib
import http.client
import json
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import imageio.v3 as iio
import numpy as np
import pytest

from rlsys.errors import ConfigError
from rlsys.viewer.playing.player import Player
from rlsys.viewer.playing.stage import Stage
from rlsys.viewer.screen import WindowClosed
from rlsys.viewer.web import Browser

MakePlayer = Callable[..., Player]
pytestmark = pytest.mark.xdist_group("chromium")  # one browser is enough


def answer(browser: Browser, path: str, **headers: str) -> http.client.HTTPResponse:
    """What the server says to a request; by default for the page itself, as a browser would ask."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(browser.url).port, timeout=10)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    response.body = response.read().decode()  # type: ignore[attr-defined]
    connection.close()
    return response


def token(browser: Browser) -> str:
    return urlsplit(browser.url).query


def upgrade(browser: Browser, **changed: str) -> dict[str, str]:
    """Headers with which a page opens its connection."""
    host = f"127.0.0.1:{urlsplit(browser.url).port}"
    headers = {
        "Host": host,
        "Origin": f"http://{host}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    return headers | changed


def test_the_page_is_whole_and_for_this_machine_alone() -> None:
    with Browser("dots") as browser:
        response = answer(browser, f"/?{token(browser)}")
        assert response.status == 200
        page = response.body  # type: ignore[attr-defined]
        policy = response.getheader("Content-Security-Policy", "")
        with socket.socket() as elsewhere, pytest.raises(OSError):
            elsewhere.settimeout(2)
            elsewhere.connect((_own_address(), urlsplit(browser.url).port))
    assert "default-src 'none'" in policy and "'unsafe" not in policy
    assert "http://" not in page and "https://" not in page and "src=" not in page, "nothing from outside"
    assert token(browser).removeprefix("token=") not in page


def _own_address() -> str:
    """An address of this machine that is not its loopback one; a name for no machine where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "192.0.2.1"
        return str(probe.getsockname()[0])


@pytest.mark.parametrize("path", ["/", "/?token=", "/?token=wrong", "/stream", "/stream?token=wrong"])
def test_who_does_not_know_the_token_is_refused(path: str) -> None:
    with Browser("dots") as browser:
        assert answer(browser, path, **upgrade(browser)).status == 403


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 101),
        ({"Host": "localhost:9", "Origin": "http://localhost:9"}, 101),  # through a tunnel
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),  # a name that was made to lead here
        ({"Host": "127.0.0.1.evil.example", "Origin": "http://127.0.0.1.evil.example"}, 403),
    ],
)
def test_only_the_page_itself_may_drive(changed: dict[str, str], status: int) -> None:
    with Browser("dots") as browser:
        assert answer(browser, f"/stream?{token(browser)}", **upgrade(browser, **changed)).status == status


def test_the_page_is_not_shown_under_another_name() -> None:
    with Browser("dots") as browser:
        assert answer(browser, f"/?{token(browser)}", Host="evil.example").status == 403


def test_each_browser_has_a_token_of_its_own() -> None:
    with Browser("a") as first, Browser("b") as second:
        assert token(first) != token(second)
        assert len(token(first)) > 30


def test_a_port_that_is_taken_is_one_line() -> None:
    with Browser("first") as first:
        port = urlsplit(first.url).port
        assert port is not None
        with pytest.raises(ConfigError, match=f"--port {port} cannot be had: .*Leave it out"), Browser("b", port=port):
            pass


class ScriptedPage(threading.Thread):
    """Connects as a page does, sends what it is told to, and stays until it is left."""

    def __init__(self, browser: Browser, *messages: str | bytes) -> None:
        super().__init__()
        self._url = urlsplit(browser.url)
        self._messages = messages
        self._left = threading.Event()
        self.received: list[str | bytes] = []
        self.start()

    def run(self) -> None:
        asyncio.run(self._connect())

    def leave(self) -> None:
        self._left.set()
        self.join()

    async def _connect(self) -> None:
        origin = f"http://{self._url.netloc}"
        address = f"{origin}/stream?{self._url.query}"
        async with aiohttp.ClientSession() as session, session.ws_connect(address, origin=origin) as page:
            for message in self._messages:
                await (page.send_str(message) if isinstance(message, str) else page.send_bytes(message))
            while not self._left.is_set():
                with contextlib.suppress(TimeoutError):
                    self.received.append((await page.receive(0.05)).data)


def message(key: str, is_down: bool) -> str:
    return json.dumps({"key": key, "is_down": is_down})


def events(browser: Browser, count: int) -> list[tuple[str, bool]]:
    """Shows pictures until so many keys have come."""
    found: list[tuple[str, bool]] = []
    for _ in range(2_000):
        found += [(event.key, event.is_down) for event in browser.show(np.zeros((4, 4, 3), np.uint8))]
        if len(found) >= count:
            break
    return found


def test_what_no_page_sends_is_ignored_and_a_page_that_is_gone_holds_no_key() -> None:
    nonsense = ["", "[]", "{}", "null", '{"key": 3, "is_down": true}', '{"key": "w", "is_down": 1}', b"w"]
    with Browser("dots", fps=100.0) as browser:
        other = ScriptedPage(browser)
        page = ScriptedPage(browser, *nonsense, message("x" * 21, is_down=True), message("w", is_down=True))
        assert events(browser, 1) == [("w", True)]
        page.leave()
        assert events(browser, 1) == [("w", False)]
        other.leave()


def test_a_page_is_told_the_title_the_keys_the_status_and_is_sent_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    with Browser("dots", fps=100.0, legend=[("W", "up")]) as browser:
        page = ScriptedPage(browser)
        for _ in range(20):
            browser.show(picture, "WAIT")
        page.leave()
    first, status, png = page.received[:3]
    assert json.loads(first) == {"title": "dots", "legend": [["W", "up"]]}
    assert json.loads(status) == {"status": "WAIT"}
    assert np.array_equal(iio.imread(png), picture)
    assert len(page.received) == 3, "what has not changed is not sent again"


class Session:
    """A player whose browser is served, and played from a thread, as `rlsys play --web` does."""

    def __init__(self, player: Player, folder: Path = Path()) -> None:
        self.player = player
        self.stage = Stage(player, folder, 50.0)
        self.browser = Browser("rlsys/Dot-v0 at learner step 12", fps=50.0, legend=self.stage.legend)
        self._thread = threading.Thread(target=self._play)

    def __enter__(self) -> "Session":
        self.browser.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._thread.is_alive():
            last = ScriptedPage(self.browser, message("escape", is_down=True))
            self._thread.join()
            last.leave()
        self.browser.__exit__(None, None, None)

    def _play(self) -> None:
        self.stage.play(self.browser)

    @property
    def actions(self) -> list[int]:
        with np.load(f"{self.player.recorded[-1]}.npz") as arrays:
            return [int(action) for action in arrays["action"]]


def wait_for(page: Any, text: str, where: str = "#status") -> None:
    """Waits until a pattern is there; without evaluating strings in the page, which it forbids."""
    page.locator(where, has_text=re.compile(text)).wait_for(timeout=20_000)


def stands_still(page: Any, read: Callable[[], str]) -> bool:
    """Whether something ceases to change; a loaded machine takes its time."""
    for _ in range(40):
        before = read()
        page.wait_for_timeout(300)
        if read() == before:
            return True
    return False


def test_real_keys_in_a_real_browser_play(chromium: Any, make_player: MakePlayer, tmp_path: Path) -> None:
    complaints: list[str] = []
    with Session(make_player(error_after=1, zoom=8.0)) as session:
        page = chromium.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(session.browser.url)
        wait_for(page, "step 0")
        assert "WAIT" in page.locator("#status").inner_text()
        page.keyboard.down("w")
        page.keyboard.down("Space")
        wait_for(page, "step [1-9]")
        page.wait_for_timeout(300)
        page.keyboard.up("Space")
        page.keyboard.up("w")
        assert stands_still(page, page.locator("#status").inner_text), "released keys do nothing"
        page.screenshot(path=tmp_path / "page.png")
        page.keyboard.press("r")
        wait_for(page, "recorded played-0001")
        assert set(session.actions) <= {2, 1, 8} and 8 in session.actions, "UPFIRE once both are held"
        page.keyboard.press("c")
        wait_for(page, "real time")
        wait_for(page, "step [1-9]")
        page.keyboard.press("c")
        wait_for(page, "WAIT")
        page.keyboard.press("Escape")
    wait_for(page, "can be closed", "#veil")
    page.close()
    assert complaints == []
    assert {urlsplit(url).netloc for url in requests if not url.startswith(("blob:", "data:"))} == {
        urlsplit(session.browser.url).netloc
    }


def test_a_page_that_loses_the_keyboard_holds_no_key(chromium: Any, make_player: MakePlayer) -> None:
    with Session(make_player()) as session:
        page = chromium.new_page()
        page.goto(session.browser.url)
        wait_for(page, "step 0")
        page.keyboard.down("w")
        wait_for(page, "step [1-9]")
        page.evaluate("dispatchEvent(new Event('blur'))")
        assert stands_still(page, page.locator("#status").inner_text)
        assert page.locator("#veil").inner_text() == "click to play"
        page.evaluate("dispatchEvent(new Event('focus'))")
        assert page.locator("#veil").inner_text() == ""
        page.close()


def test_a_page_can_be_loaded_again_and_time_stands_still_meanwhile(chromium: Any, make_player: MakePlayer) -> None:
    with Session(make_player()) as session:
        page = chromium.new_page()
        page.goto(session.browser.url)
        wait_for(page, "step 0")
        page.keyboard.press("c")
        wait_for(page, "step [1-9]")
        page.goto("about:blank")
        assert stands_still(page, lambda: session.player.status)
        page.goto(session.browser.url)
        wait_for(page, "real time")
        page.close()


def test_a_watched_episode_begins_with_the_first_page_and_ends_with_q(chromium: Any) -> None:
    shown: list[int] = []

    def watch(browser: Browser) -> None:
        rng = np.random.default_rng(0)
        try:
            while True:
                browser.show(rng.integers(0, 256, (40, 60, 3), np.uint8))
                shown.append(1)
        except WindowClosed:
            pass

    with Browser("watched", fps=100.0, legend=[("Q", "quit")]) as browser:
        thread = threading.Thread(target=watch, args=(browser,))
        thread.start()
        page = chromium.new_page()
        assert not shown
        page.goto(browser.url)
        page.locator("#picture[width='60']").wait_for(timeout=20_000)
        page.keyboard.press("q")
        thread.join(20)
        assert not thread.is_alive()
        assert shown
        page.close()
