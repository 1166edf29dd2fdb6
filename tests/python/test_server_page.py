"""The page for people, at /: in a real browser, and what it lets nobody do."""

import os
import pathlib
import re

import pytest

import csync
from browser import browser
from note_table import NOTE
from serving import Raw, get, serving, until
from test_protocol import put

PAGE = (pathlib.Path(__file__).parents[2] / "csrc" / "http" / "page.html").read_text()
SCHEMA = NOTE + "; CREATE TABLE secret (id INTEGER PRIMARY KEY, text)"
TOKEN, BOUND = "of-the-whole-database", "of-the-notes-alone"
GRANTS = [csync.Grant(TOKEN), csync.Grant(BOUND, client="phone", tables=("note",))]
TAB, ENTER = "\ue004", "\ue007"


@pytest.fixture(scope="module")
def chromium():
    with browser() as made:
        yield made


@pytest.fixture
def db(replica):
    made = replica(SCHEMA, "note", "secret")
    put(made, 1, 2, 3)
    made.execute("INSERT INTO secret VALUES (1, 'hidden')")
    return made


def live(page):
    until(lambda: page.text("#said") == "Live", 15)


def log_in(page, token):
    until(lambda: page.is_shown("#login"), 30)
    page.type(token + ENTER)  # the field has the focus


def test_the_page_shows_tables_clients_and_changes_as_they_happen(db, replica, chromium):
    client = replica(SCHEMA, "note", "secret")
    with serving(db) as running:
        for _ in range(2):  # the second says that the first arrived
            client.sync(running.url)
        put(db, 4)
        chromium.open(running.url + "/")
        live(chromium)
        assert chromium.texts("#table-rows tr th") == ["note", "secret"]
        assert chromium.texts("#table-rows .number") == ["4", "1"]
        assert chromium.texts("#client-rows tr th") == [client.origin]
        assert "1 behind" in chromium.text("#client-rows")
        assert (chromium.text("#maxVersion"), chromium.text("#origin")) == ("5", db.origin)
        db.execute("UPDATE note SET body = '<img src=x onerror=alert(1)>' WHERE id = 1")
        until(lambda: "Update" in chromium.text("#feed"))
        assert "<img src=x" in chromium.text("#feed") and "note" in chromium.text("#feed")
        assert chromium.run("return document.images.length") == 0
        client.sync(running.url)
        db.execute("DELETE FROM note WHERE id = 2")
        until(lambda: chromium.text("#maxVersion") == "7")
        assert [text.split("\n")[1] for text in chromium.texts("#feed li")] == ["Delete", "Update"]
        chromium.click("#pause")
        db.execute("DELETE FROM note WHERE id = 3")
        until(lambda: chromium.text("#maxVersion") == "8")
        assert len(chromium.texts("#feed li")) == 2
        assert chromium.complaints() == []
        here = chromium.run("return performance.getEntriesByType('resource').map(e => e.name)")
        assert here and all(url.startswith(running.url + "/") for url in here)


def test_the_page_goes_on_behind_what_it_has_shown_when_the_server_comes_back(db, chromium):
    with serving(db) as running:
        port = running.url.rsplit(":", 1)[1]
        chromium.open(running.url + "/")
        live(chromium)
        put(db, 5)
        until(lambda: len(chromium.texts("#feed .version")) == 1)
    until(lambda: chromium.text("#said") != "Live")
    put(db, 6)
    with csync.serve(db, listen=f"127.0.0.1:{port}"):
        live(chromium)
        until(lambda: len(chromium.texts("#feed .version")) == 2)
    assert all("ERR_" in text for text in chromium.complaints())  # that it could not connect meanwhile


def test_one_of_several_databases_is_chosen(db, replica, chromium):
    other = replica(NOTE, "note")
    with serving({"first": db, "second": other}) as running:
        chromium.open(running.url + "/")
        live(chromium)
        assert chromium.texts("#databases button") == ["first", "second"]
        chromium.click("#databases button:nth-child(2)")
        until(lambda: chromium.text("#origin") == other.origin)
        live(chromium)
        put(other, 9)
        until(lambda: "Insert" in chromium.text("#feed"))
        assert chromium.text("[aria-current=page]") == "second"


def test_a_token_is_asked_for_and_forgotten_with_the_tab(db, chromium):
    with serving(db, grants=GRANTS) as running:
        chromium.open(running.url + "/")
        assert not chromium.is_shown("#feed")
        log_in(chromium, "another")
        until(lambda: "does not count" in chromium.text("#said"))
        log_in(chromium, TOKEN)
        live(chromium)
        assert chromium.run("return [localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]
        assert TOKEN not in chromium.run("return location.href + document.documentElement.outerHTML")
        chromium.open(running.url + "/")
        live(chromium)
        chromium.click("#forget")
        assert chromium.run("return sessionStorage.length") == 0
        log_in(chromium, BOUND)
        live(chromium)
        assert chromium.texts("#table-rows tr th") == ["note"]
        assert "does not show clients" in chromium.text("#client-rows")
        db.execute("UPDATE secret SET text = 'hidden still'")
        put(db, 8)
        until(lambda: "Insert" in chromium.text("#feed"))
        assert "hidden" not in chromium.run("return document.documentElement.innerText")
        chromium.run("sessionStorage.clear()")


def test_the_page_is_used_with_the_keyboard_alone(db, chromium):
    with serving({"first": db, "second": str(db.path)}) as running:
        chromium.open(running.url + "/")
        live(chromium)
        chromium.run("document.activeElement.blur()")
        reached = []
        for _ in range(5):
            chromium.type(TAB)
            reached.append(chromium.run("return document.activeElement.id || document.activeElement.innerText"))
        assert reached == ["first", "second", "count", "pause", "feed"]
        assert chromium.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_narrow_screen_does_not_scroll_sideways(db):
    with browser(size="400,800") as narrow, serving(db) as running:
        narrow.open(running.url + "/")
        live(narrow)
        put(db, 4)
        until(lambda: "Insert" in narrow.text("#feed"))
        assert narrow.run("return document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(db, scheme):
    with browser(scheme) as page, serving(db) as running:
        page.open(running.url + "/")
        live(page)
        put(db, 4)
        until(lambda: "Insert" in page.text("#feed"))
        if folder := os.environ.get("CSYNC_TEST_PICTURES"):
            page.picture(pathlib.Path(folder) / f"page-{scheme}.png")
        assert page.run("return matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
        low = page.run(CONTRAST)
    assert low == []


CONTRAST = """
const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
const light = (color) => {
  const [r, g, b] = numbers(color).slice(0, 3).map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (e) => {
  for (; e; e = e.parentElement) {
    const color = getComputedStyle(e).backgroundColor;
    if (numbers(color)[3] !== 0) return color;
  }
  return "rgb(255, 255, 255)";
};
return [...document.querySelectorAll("body *")]
  .filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
  .map((e) => [light(getComputedStyle(e).color), light(ground(e)), e.tagName + " " + e.textContent.trim().slice(0, 30)])
  .filter(([a, b]) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5)
  .map(([, , what]) => what);
"""


# ---- without a browser


def test_nothing_runs_in_the_page_but_its_own_script(db):
    with serving(db, grants=GRANTS) as running, Raw(running) as raw:
        raw.send(get(b"Connection: close\r\n", b"/"))
        head, _, body = raw.rest().decode().partition("\r\n\r\n")
    assert body == PAGE
    policy = dict(part.split(" ", 1) for part in re.search("Content-Security-Policy: (.*)\r", head)[1].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'" and "unsafe" not in str(policy)
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", policy["script-src"])
    assert "Referrer-Policy: no-referrer" in head and "nosniff" in head


def test_the_page_needs_nothing_from_outside():
    assert not re.search(r"https?:|//[a-z]|innerHTML|eval\(|\son[a-z]+=|\sstyle=", PAGE.split("<script>")[0])
    assert not re.search(r"https?:|innerHTML|outerHTML|eval\(|insertAdjacent", PAGE)


def test_a_page_of_another_site_may_not_ask_but_the_servers_own_may(db):
    with serving(db) as running:
        host = running.url.split("//")[1].encode()
        for origin, status in ((b"http://" + host, b"200"), (b"http://127.0.0.1:1", b"403"), (b"null", b"403")):
            with Raw(running) as raw:
                request = get(b"Connection: close\r\nOrigin: " + origin + b"\r\n", b"/sync/state")
                raw.send(request.replace(b"Host: localhost", b"Host: " + host))
                assert raw.rest()[9:12] == status
