from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from tests.clips import picture, write_video
from tests.conftest import ROOT
from tests.host.browser import Browser, find_chromium
from tests.training.evaluation.benchmark.test_ballots import result
from training.evaluation.benchmark.ballots import Ballots
from training.evaluation.benchmark.pairs import CROSS
from training.evaluation.benchmark.votes import read_ballots
from training.evaluation.benchmark.voting_page import port_of, serve_page

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for system in ("one", "two"):
        result(tmp_path, system, CROSS, "a+b")
    return tmp_path


@pytest.fixture
def page(folder: Path) -> Iterator[ThreadingHTTPServer]:
    with running(folder) as server:
        yield server


class running:  # noqa: N801
    """A page that answers while the block runs."""

    def __init__(self, folder: Path) -> None:
        self._server = serve_page(Ballots(folder, seed=0))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> ThreadingHTTPServer:
        self._thread.start()
        return self._server

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def ask(
    page: ThreadingHTTPServer, path: str, content: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Asks the page; the path is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(page), timeout=10)
    try:
        connection.request("GET" if content is None else "POST", path, content, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def ballot(page: ThreadingHTTPServer) -> str:
    word = json.loads(ask(page, "/ballot")[1])["ballot"]
    assert isinstance(word, str)
    return word


def test_the_page_shows_two_videos(page: ThreadingHTTPServer) -> None:
    status, text, headers = ask(page, "/")
    assert (status, headers.get_content_type()) == (200, "text/html")
    assert text.count(b"<video") == 2
    word = ballot(page)
    shown = {ask(page, f"/video/{word}/{side}")[1] for side in ("left", "right")}
    assert shown == {b"one cross-sync a+b", b"two cross-sync a+b"}


def test_a_part_of_a_video_can_be_asked_for(page: ThreadingHTTPServer) -> None:
    path = f"/video/{ballot(page)}/left"
    whole = ask(page, path)[1]
    status, part, headers = ask(page, path, headers={"Range": "bytes=4-8"})
    assert (status, part, headers["Content-Range"]) == (206, whole[4:9], f"bytes 4-8/{len(whole)}")
    assert ask(page, path, headers={"Range": "bytes=4-"})[1] == whole[4:]
    assert ask(page, path, headers={"Range": "bytes=999-"})[0] == 416


def test_a_vote_is_written_and_the_next_ballot_comes(page: ThreadingHTTPServer, folder: Path) -> None:
    word = ballot(page)
    vote = json.dumps({"ballot": word, "choice": "right"}).encode()
    status, answer, _ = ask(page, "/vote", vote, JSON)
    content = json.loads(answer)
    assert (status, content["votes"]) == (200, 1)
    assert content["ballot"] != word
    ((_, choice),) = read_ballots(folder / "votes.csv")
    assert choice == "right"
    assert ask(page, "/vote", vote, JSON)[0] == 404  # once


@pytest.mark.parametrize(
    "path",
    [
        "/votes.csv",
        "/../votes.csv",
        "/video/..%2F..%2Fvotes.csv/left",
        "/video/x/left",
        "/video/x/middle",
        "/results/one",
    ],
)
def test_nothing_else_is_served(page: ThreadingHTTPServer, folder: Path, path: str) -> None:
    (folder / "votes.csv").write_text("protocol,name,left,right,choice\n")
    status, answer, _ = ask(page, path)
    assert status == 404
    assert b"protocol" not in answer


def test_other_sites_cannot_vote(page: ThreadingHTTPServer, folder: Path) -> None:
    """Nor by a name of their own for this machine, nor by a form."""
    vote = json.dumps({"ballot": ballot(page), "choice": "left"}).encode()
    assert ask(page, "/", headers={"Host": "evil.example"})[0] == 403
    assert ask(page, "/vote", vote, {**JSON, "Host": "evil.example:80"})[0] == 403
    assert ask(page, "/vote", vote, {"Content-Type": "text/plain"})[0] == 400
    assert ask(page, "/vote", vote + b" " * 2000, JSON)[0] == 400
    for wrong in (b"{", b"[]", b'{"ballot": 1, "choice": "left"}', b'{"ballot": "x", "choice": ["left"]}'):
        assert ask(page, "/vote", wrong, JSON)[0] == 400
    assert not (folder / "votes.csv").exists()


def test_a_vote_that_cannot_be_written_says_why(page: ThreadingHTTPServer, folder: Path) -> None:
    (folder / "votes.csv").mkdir()
    vote = json.dumps({"ballot": ballot(page), "choice": "left"}).encode()
    status, answer, _ = ask(page, "/vote", vote, JSON)
    assert status == 500
    assert b"cannot write" in answer


def test_it_is_seen_on_this_machine_alone(page: ThreadingHTTPServer) -> None:
    assert page.server_address[0] == "127.0.0.1"
    with pytest.raises(KeySyncError, match=r"port \d+ cannot be used"):
        serve_page(Ballots(Path()), port_of(page))


def test_a_person_votes_by_key_and_by_button(tmp_path: Path) -> None:
    """In a headless Chromium: both videos play, a key or a button votes and shows the next ones."""
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium found: on Debian, apt install chromium")
    for system, shot in (("one", 0), ("two", 1)):
        for name in ("a+b", "b+a"):
            path = result(tmp_path, system, CROSS, name)
            frames = [picture(number, shot, 160, 120) for number in range(10)]
            write_video(path, frames)
    profile = tmp_path / "chromium"
    profile.mkdir()
    browser = Browser(chromium, profile)
    try:
        with running(tmp_path) as page:
            browser.open(f"http://127.0.0.1:{port_of(page)}/")
            browser.wait("document.readyState == 'complete' && ballot")
            browser.wait("[...document.querySelectorAll('video')].every(video => video.videoWidth == 160)")
            browser.wait("document.getElementById('state').textContent == 'Press Space to play.'")
            browser.press(" ", 32)
            browser.wait("[...document.querySelectorAll('video')].every(video => video.currentTime > 0)")
            first = browser.run("ballot")
            browser.press("ArrowRight", 39)
            browser.wait(f"ballot && ballot != {json.dumps(first)}")
            second = browser.run("ballot")
            browser.click(*browser.find("Left"))
            browser.wait(f"ballot && ballot != {json.dumps(second)}")
            browser.wait("document.getElementById('state').textContent == '2 votes'")
            browser.picture(ROOT / "out" / "screenshots" / "vote.png")
    finally:
        browser.close()
    assert [choice for _, choice in read_ballots(tmp_path / "votes.csv")] == ["right", "left"]
