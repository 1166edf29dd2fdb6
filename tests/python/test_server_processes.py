"""Several server processes on one PostgreSQL database, as behind a proxy: whoever is asked, the answer is the same, since
all that a server knows of its clients is in the database."""

import contextlib
import json
import os
import random

import pytest

import csync
import fleet
from bad_network import Network
from serving import Stream, ask

PROFILE = os.environ.get("CSYNC_TEST_PROFILE", "default")
SECONDS = {"quick": 5, "default": 20, "long": 120}[PROFILE]
DEVICES = {"quick": 4, "default": 9, "long": 20}[PROFILE]
WRITERS = 2


@pytest.fixture
def db(pg_replica):
    return pg_replica(fleet.SCHEMA, *fleet.TABLES)


@pytest.fixture
def device(tmp_path):
    with fleet.devices(tmp_path, 1) as made:
        yield made[0]


@pytest.fixture
def two(db, device, tmp_path):
    """Two running servers of db, with a token for the device."""
    with fleet.servers(db.url, [device], tmp_path, count=2) as made:
        yield made


def bearing(device, **more):
    return {"Authorization": f"Bearer {device.token}", **more}


def add_drafts(device, *keys):
    for key in keys:
        device.db.execute("INSERT INTO draft VALUES (?, ?, 'new')", (key, device.name))


# ---- all at once


def write(author, stop):
    while not stop.wait(author.chance.uniform(0, 0.3)):
        author.edit()


def test_clients_that_hop_between_processes_lose_nothing(db, tmp_path, figure):
    """Another one for every sync, while programs write to the database itself and one process or another is killed."""
    with contextlib.ExitStack() as stack:
        devices = stack.enter_context(fleet.devices(tmp_path, DEVICES))
        servers = stack.enter_context(fleet.servers(db.url, devices, tmp_path, count=3))
        writers = []
        for n in range(WRITERS):
            session, commit = fleet.postgres_program(db.url)
            stack.callback(session.close)
            writers.append(fleet.Author(f"writer{n}", commit, 0))
        urls = [server.url for server in servers]
        lives = [lambda stop, device=device: device.live(urls, stop) for device in devices]
        lives += [lambda stop, writer=writer: write(writer, stop) for writer in writers]
        with fleet.at_work(lives):
            fleet.kill_at_random(servers, devices, SECONDS, random.Random(5))
        rounds = fleet.settle(devices, urls)
        authors = devices + writers
        found = fleet.inspect(authors, {"the server": db} | {device.name: device.db for device in devices})
        figure(f"{fleet.what_was_done(authors, servers, SECONDS)}; {len(found)} faults, quiet after {rounds} rounds")
        assert not found, "\n".join(found[:20])
        assert all(author.edits for author in authors)
        assert all(server.process.poll() is None for server in servers)


def test_processes_that_start_together_on_a_new_database_agree(pg_replica, device, tmp_path):
    """Whichever makes csync's tables, the others wait for it."""
    empty = pg_replica()
    empty.sql("DROP SCHEMA csync CASCADE")
    with fleet.servers(empty.url, [device], tmp_path, count=3) as servers:
        origins = {ask(server, "/sync/state", headers=bearing(device))[2]["origin"] for server in servers}
    assert len(origins) == 1


# ---- what one process knows of a client the others know


def test_a_client_goes_on_at_another_process_where_it_was(db, device, two):
    one, other = two
    db.sql("INSERT INTO draft SELECT i, 'sql', 'new' FROM generate_series(1, 30) i")
    assert device.sync(one.url, batch_size=10).pulled == 30
    add_drafts(device, "a", "b")
    result = device.sync(other.url)
    assert (result.pulled, result.pushed, result.resyncs) == (0, 2, 0)
    again = device.sync(one.url)
    assert (again.pulled, again.pushed, again.resyncs) == (0, 0, 0)


def test_who_registers_at_one_process_is_known_at_another(db, device, two):
    body = json.dumps({"OriginId": device.name, "LastSyncVersion": 0}).encode()
    assert ask(two[0], "/sync/clients", "POST", body, bearing(device))[0] == 200
    assert [client.origin for client in db.clients()] == [device.name]
    db.forget_client(device.name)
    assert ask(two[1], "/sync/clients", "POST", body, bearing(device))[0] == 200
    assert [client.origin for client in db.clients()] == [device.name]


def push(device, server, body):
    """The raw answer."""
    status, _, answer = ask(server, "/sync/changes", "POST", json.dumps(body).encode(), bearing(device))
    assert status == 200
    return {name: answer[name] for name in answer if name != "timestamp"}


def test_a_push_that_comes_again_at_another_process_is_answered_as_the_first_time(db, device, two):
    add_drafts(device, "a", "b")
    body = json.loads(csync.Session(device.db, db.origin, direction="push").next().batch.to_json())
    first = push(device, two[0], body)
    assert [outcome["status"] for outcome in first["outcomes"]] == ["applied", "applied"]
    two[0].kill()
    assert push(device, two[1], body) == first
    assert push(device, two[1], body | {"idempotencyKey": "another"})["outcomes"] == []  # it is no repetition


class Balancer(Network):
    """Each request goes to one server first, which is cut off before its answer comes, and then to the other."""

    def __init__(self, first, other):
        self.first = Network(first)
        super().__init__(other)

    def __exit__(self, *exc_info):
        self.first.__exit__()
        super().__exit__()

    def _ask_before(self, data):
        server, self.server = self.server, self.first.server
        try:
            super()._ask_before(data)
        finally:
            self.server = server


def test_a_sync_whose_answers_were_lost_at_one_process_succeeds_at_another(db, device, two):
    db.sql("INSERT INTO draft VALUES ('theirs', 'sql', 'new')")
    add_drafts(device, "a", "b", "c")
    top = db.state.max_version
    with Balancer(two[0].url, two[1].url) as network:
        network.twice = True
        result = device.sync(network.url)
    assert (result.pulled, result.pushed, result.lost, result.conflicts) == (1, 3, 0, 0)
    assert db.state.max_version == top + 3  # each once
    assert db.hash() == device.db.hash()


# ---- event streams


def test_a_stream_of_one_process_tells_of_what_came_in_through_another(db, device, two):
    one, other = two
    with Stream(other, "?tableName=draft", bearing(device)) as stream:
        add_drafts(device, "pushed")
        device.sync(one.url)
        db.sql("INSERT INTO draft VALUES ('written', 'sql', 'new')")
        events = [stream.next() for _ in range(2)]
    assert [event for event, _, _ in events] == ["change", "change"]
    assert [json.loads(data["pkValue"])["id"] for _, _, data in events] == ["pushed", "written"]
    assert events[0][2]["origin"] == device.name


def test_a_stream_of_a_killed_process_goes_on_at_another(db, device, two):
    """Last-Event-ID names a version of the database's log, not anything of the process that sent it."""
    one, other = two
    with Stream(one, headers=bearing(device)) as stream:
        db.sql("INSERT INTO draft VALUES ('seen', 'sql', 'new')")
        _, last, _ = stream.next()
        one.kill()
        assert stream.next() is None
    add_drafts(device, "missed")
    device.sync(other.url)
    db.sql("UPDATE draft SET body = 'missed too' WHERE id = 'seen'")
    with Stream(other, headers=bearing(device, **{"Last-Event-ID": last})) as stream:
        assert stream.opened[1] == last
        db.sql("INSERT INTO draft VALUES ('next', 'sql', 'new')")
        assert keys(stream, 3) == ["missed", "seen", "next"]


def keys(stream, count):
    events = [stream.next() for _ in range(count)]
    assert {event for event, _, _ in events} == {"change"}
    return [json.loads(data["pkValue"])["id"] for _, _, data in events]


def test_a_remote_subscription_goes_on_at_another_process(db, device, two):
    one, other = two
    db.sql("INSERT INTO draft VALUES ('seen', 'sql', 'new')")
    with csync.subscribe(one.url, "draft", since=0, token=device.token) as feed:
        assert [change.pk["id"] for change in feed.next(20)] == ["seen"]
        version = feed.version
    one.kill()
    db.sql("INSERT INTO draft VALUES ('missed', 'sql', 'new')")
    with csync.subscribe(other.url, "draft", since=version, token=device.token) as feed:
        assert [change.pk["id"] for change in feed.next(20)] == ["missed"]


def test_only_the_process_that_sends_a_stream_ends_it(device, two):
    one, other = two
    with Stream(one, headers=bearing(device)) as stream:
        assert ask(other, f"/sync/subscribe/{stream.id}", "DELETE", headers=bearing(device))[0] == 404
        assert ask(one, f"/sync/subscribe/{stream.id}", "DELETE", headers=bearing(device))[0] == 204
        assert stream.next()[0] == "bye"
