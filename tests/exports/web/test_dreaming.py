"""The page dreams in a real browser, from a server of files and without any."""

import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("chromium")
PICTURE = "element('picture').toDataURL()"
LOWEST_ROW = "[...element('picture').getContext('2d').getImageData(0, 19, 16, 1).data]"


@pytest.fixture
def served(page_folder: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(page_folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def wait_for(page: Any, text: str, where: str = "#status") -> None:
    page.locator(where, has_text=re.compile(text)).wait_for(timeout=60_000)


@pytest.mark.parametrize("place", ["server", "file"])
def test_keys_move_what_is_dreamed(chromium: Any, served: str, page_folder: Path, place: str) -> None:
    complaints: list[str] = []
    requests: list[str] = []
    page = chromium.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(served if place == "server" else (page_folder / "index.html").as_uri())
    wait_for(page, "step 0")
    assert "WAIT" in page.locator("#status").inner_text()
    seen = {page.evaluate(PICTURE)}
    for number in range(1, 4):
        page.keyboard.press("d")
        wait_for(page, f"step {number}")
        seen.add(page.evaluate(PICTURE))
    assert len(seen) == 4, "a ball falls, with every step"
    page.keyboard.press("x")
    wait_for(page, "step 0")
    assert page.evaluate(PICTURE) in seen, "the same beginning"
    page.keyboard.press("r")
    wait_for(page, "step 0")
    page.keyboard.press("c")
    wait_for(page, "real time")
    wait_for(page, "step [1-9]")
    page.evaluate("dispatchEvent(new Event('blur'))")
    assert page.locator("#veil").inner_text() == "click to play"
    page.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("blob:", "data:"))] == requests[:1], "nothing is fetched"


def test_keys_decide_where_the_bat_goes(chromium: Any, served: str) -> None:
    page = chromium.new_page()
    page.goto(served)
    wait_for(page, "step 0")
    places = {}
    for key in ("ArrowLeft", "ArrowRight"):
        page.keyboard.press("x")
        wait_for(page, "step 0")
        for number in range(1, 4):
            page.keyboard.press(key)
            wait_for(page, f"step {number}")
        row = page.evaluate(LOWEST_ROW)[::4]
        places[key] = sum(at * value for at, value in enumerate(row)) / sum(row)
    page.close()
    assert places["ArrowLeft"] + 2 < places["ArrowRight"], places


def test_a_browser_that_cannot_says_so(chromium: Any, served: str) -> None:
    page = chromium.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto(served)
    wait_for(page, "This browser cannot dream it: .*DecompressionStream", "#veil")
    page.close()
