"""Twenty devices and a server that is killed at random moments, over real sockets: nothing is lost, nothing comes twice,
and all end up equal."""

import os
import random

import pytest

import fleet

PROFILE = os.environ.get("CSYNC_TEST_PROFILE", "default")
SECONDS = {"quick": 5, "default": 60, "long": 600}[PROFILE]
DEVICES = {"quick": 6, "default": 20, "long": 20}[PROFILE]


@pytest.fixture
def served(request, tmp_path):
    """served(kind): an open replica of that kind with the tables tracked, and its `url`."""

    def make(kind):
        if kind == "postgresql":
            return request.getfixturevalue("pg_replica")(fleet.SCHEMA, *fleet.TABLES)
        db = request.getfixturevalue("replica")(fleet.SCHEMA, *fleet.TABLES, timeout=60)
        db.url = db.path
        return db

    return make


@pytest.mark.parametrize("kind, seconds", [("postgresql", SECONDS), ("sqlite", min(SECONDS, 10))], ids=["postgresql", "sqlite"])
def test_nothing_is_lost_through_a_server_that_is_killed(kind, seconds, served, tmp_path, figure):
    db = served(kind)
    with (
        fleet.devices(tmp_path, DEVICES) as devices,
        fleet.servers(db.url, devices, tmp_path) as servers,
    ):
        urls = [servers[0].url]
        lives = [lambda stop, device=device: device.live(urls, stop) for device in devices]
        with fleet.at_work(lives):
            fleet.kill_at_random(servers, devices, seconds, random.Random(7))
        rounds = fleet.settle(devices, urls)
        replicas = {"the server": db} | {device.name: device.db for device in devices}
        found = fleet.inspect(devices, replicas)
        figure(f"{kind}: {fleet.what_was_done(devices, servers, seconds)}; {len(found)} faults, quiet after {rounds} rounds")
        assert not found, "\n".join(found[:20])
        assert servers[0].kills > 0 and servers[0].process.poll() is None


@pytest.mark.parametrize(
    "damage, fault",
    [
        ("DELETE FROM visit WHERE id = (SELECT min(id) FROM visit)", "is lost"),
        ("INSERT INTO visit SELECT max(id) + 1, name, device FROM visit", "is doubled"),
        ("UPDATE draft SET body = 'an older one' WHERE id = (SELECT min(id) FROM draft)", "draft"),
        ("DELETE FROM draft WHERE id = (SELECT min(id) FROM draft)", "draft"),
        ("INSERT INTO draft VALUES ('it came back', 'device0', '')", "draft"),
        ("INSERT INTO person VALUES (99, 'only here', NULL)", "device1 differs from device0"),
    ],
)
def test_the_inspection_sees_what_is_lost_doubled_or_different(damage, fault, tmp_path):
    with fleet.devices(tmp_path, 2) as devices:
        one, other = devices
        for _ in range(20):
            one.edit()
        other.db.sync(one.db)
        replicas = {device.name: device.db for device in devices}
        assert fleet.inspect(devices, replicas) == []
        with other.db.suppressed():
            other.db.execute(damage)
        found = fleet.inspect(devices, replicas)
        assert any(fault in line for line in found) and found[-1] == "device1 differs from device0"
