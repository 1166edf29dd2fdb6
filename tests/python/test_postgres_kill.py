"""kill -9 in the middle of a sync with a PostgreSQL database: of the process that syncs, at its messages to and from
the server; and of its server process, while it writes rows, heads, parked rows and positions. Nothing is half done afterwards,
no lock and no setting stays behind, and syncing goes on from there. Each point starts from the same content."""

import contextlib
import json
import subprocess
import time

import pytest

import csync
import kill_points
import postgres_replicas
from test_kill_sweep import Head, check_file, heads_of, rows_of, script, take

SCHEMA = """
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, email TEXT UNIQUE);
CREATE TABLE item (id INTEGER PRIMARY KEY, person INTEGER REFERENCES person, v TEXT);
CREATE TABLE tag (a TEXT, b INTEGER, note TEXT, PRIMARY KEY (a, b));
"""
TABLES = {"person": ("id",), "item": ("id",), "tag": ("a", "b")}
BASE = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8)
    INSERT INTO person SELECT i, 'base ' || i, i || '@base' FROM n;
INSERT INTO item SELECT id * 10, id, 'base' FROM person;
INSERT INTO tag SELECT 'base', id, NULL FROM person;
"""
# New rows, edits of the same rows, deletes, a value that both took (one row has to be parked), and a row whose parent
# the other side deleted.
EDITS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5)
    INSERT INTO person SELECT {at} + i, '{who} ' || i, ({at} + i) || '@{who}' FROM n;
INSERT INTO item SELECT id * 10, id, '{who}' FROM person WHERE id > {at};
INSERT INTO person VALUES ({at}, '{who}', 'both@once');
UPDATE person SET name = '{who} edit' WHERE id BETWEEN {edit} AND {edit} + 2;
UPDATE tag SET b = b + {at} WHERE b = {edit};
DELETE FROM item WHERE person = {delete};
DELETE FROM person WHERE id = {delete};
INSERT INTO item VALUES ({at} + 5000, {orphan}, 'orphan there');
"""
CALLS = ("sendto", "recvfrom")
OPERATIONS = ("pull", "push", "sync")
# The content of all tables and sequences, and its way back in place: a copy would be another database.
SAVE = """
CREATE SCHEMA saved;
CREATE TABLE saved.sequences AS SELECT schemaname, sequencename, coalesce(last_value, 1) AS value,
    last_value IS NOT NULL AS called FROM pg_sequences WHERE schemaname = 'csync';
CREATE TABLE saved.tables AS SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('csync', 'public');
DO $$ DECLARE t record; BEGIN FOR t IN SELECT * FROM saved.tables LOOP
    EXECUTE format('CREATE TABLE saved.%2$I AS TABLE %1$I.%2$I', t.schemaname, t.tablename); END LOOP; END $$;
CREATE PROCEDURE saved.restore() LANGUAGE plpgsql AS $$ DECLARE t record; BEGIN
    SET LOCAL session_replication_role = replica;
    FOR t IN SELECT * FROM saved.tables LOOP
        EXECUTE format('DELETE FROM %1$I.%2$I', t.schemaname, t.tablename);
        EXECUTE format('INSERT INTO %1$I.%2$I SELECT * FROM saved.%2$I', t.schemaname, t.tablename); END LOOP;
    PERFORM setval(format('%I.%I', schemaname, sequencename)::regclass, value, called) FROM saved.sequences; END $$
"""
# The server process kills itself at the nth row that is written to a table.
KILLER = """
CREATE SEQUENCE saved.written;
CREATE FUNCTION saved.kill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('saved.written') = TG_ARGV[0]::int THEN
        EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'kill -9 ' || pg_backend_pid()); PERFORM pg_sleep(60); END IF;
    RETURN coalesce(NEW, OLD); END $$
"""
WRITTEN = ("public.person", "public.item", "public.tag", "csync._sync_rows", "csync._sync_parked", "csync._sync_state", "csync._sync_peers")


def sql(url, *statements):
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", url]
    for statement in statements:
        command += ["-c", statement]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def query(url, statement):
    return json.loads(sql(url, f"SELECT coalesce(json_agg(x), '[]') FROM ({statement}) x"))


@pytest.fixture(scope="module")
def postgres():
    """A server of its own: where one of its processes is killed all of them begin anew."""
    yield from postgres_replicas.start()


class World:
    """a is a PostgreSQL database, b an SQLite file; each has edits that the other lacks."""

    def __init__(self, home, folder, operation):
        self.operation, self.b = operation, folder / "b.db"
        self.a = f"postgresql://postgres@/{operation}?host={home}"
        sql(f"postgresql://postgres@/postgres?host={home}", f"CREATE DATABASE {operation}")
        sql(self.a, SCHEMA)
        script(self.b, SCHEMA + BASE)
        with self.replicas("a", "b") as (a, b):
            a.track(*TABLES)
            b.track(*TABLES)
            a.sync(b)
        sql(self.a, EDITS.format(who="a", at=100, edit=1, delete=7, orphan=8))
        script(self.b, EDITS.format(who="b", at=200, edit=2, delete=8, orphan=7))
        self.read_logs()
        sql(self.a, SAVE, KILLER)
        self.content = self.b.read_bytes()
        self.heads_a, self.heads_b = self.heads(), heads_of(self.b)
        self.pushed = self.position("pushed")
        self.counts = kill_points.count_calls(self.arguments(), folder / "calls.txt", CALLS)
        self.end = self.converge()

    @contextlib.contextmanager
    def replicas(self, *origins):
        a, b = origins or (None, None)
        with csync.open(self.a, origin=a) as left, csync.open(self.b, origin=b) as right:
            yield left, right

    def arguments(self):
        return ["sync" if self.operation == "server" else self.operation, self.a, str(self.b)]

    def read_logs(self):
        """Local writes become heads."""
        with self.replicas() as (a, b):
            a.hash()
            b.hash()

    def restore(self):
        sql(self.a, "CALL saved.restore()")
        for name in ("b.db-wal", "b.db-shm", "b.db-journal"):
            self.b.with_name(name).unlink(missing_ok=True)
        self.b.write_bytes(self.content)

    def heads(self):
        found = query(
            self.a,
            "SELECT t.name, r.*, l.payload FROM csync._sync_rows r JOIN csync._sync_tables t ON t.id = r.table_id "
            "LEFT JOIN csync._sync_log l ON l.version = r.version",
        )
        return {
            (h["name"], tuple(json.loads(h["pk"]).values())): Head(
                h["version"], (h["ts"], h["origin"], h["seq"]), bool(h["state"] & 1), h["parked"], h["payload"]
            )
            for h in found
        }

    def position(self, column):
        found = query(self.a, f"SELECT {column} AS version FROM csync._sync_peers WHERE peer = 'b'")
        return found[0]["version"] if found else 0

    def wait_until_alone(self):
        """The server needs a moment to notice that a client is gone, or to recover."""
        others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        for _ in range(300):
            with contextlib.suppress(AssertionError):
                if query(self.a, others) == []:
                    return
            time.sleep(0.1)
        raise AssertionError("the server is not back")

    def check(self):
        """Rows, heads and positions agree, and nothing that belonged to the dead process is left."""
        self.wait_until_alone()
        assert query(self.a, "SELECT * FROM pg_locks WHERE locktype = 'advisory'") == []
        check_file(self.b)
        self.check_rows()
        self.read_logs()
        accepted = rows_of(self.b, "SELECT pulled FROM _sync_peers WHERE peer = 'a'")[0]["pulled"]
        pushed, pulled = self.position("pushed"), self.position("pulled")
        assert pushed <= accepted
        # a push that lost is answered with the row that beat it
        answered = {k for k, h in self.heads_a.items() if self.pushed < h.version <= pushed}
        expected = dict(self.heads_a)
        take(expected, {k: h for k, h in self.heads_b.items() if h.version <= pulled or k in answered})
        assert stamps(self.heads()) == stamps(expected)
        expected = dict(self.heads_b)
        take(expected, {k: h for k, h in self.heads_a.items() if h.version <= accepted})
        assert stamps(heads_of(self.b)) == stamps(expected)

    def check_rows(self):
        """Every row is what its head says, and every head has its row, or waits, or is a delete."""
        heads = self.heads()
        for name, columns in TABLES.items():
            rows = {tuple(row[c] for c in columns): row for row in query(self.a, f"SELECT * FROM {name}")}
            for (of, pk), head in heads.items():
                if of != name:
                    continue
                row = rows.pop(pk, None)
                if head.deleted or head.parked:
                    assert row is None, f"{name} {pk} shows a row that {head} took away"
                else:
                    assert row is not None, f"{name} {pk} lacks {head}"
                    payload = json.loads(head.payload) if head.payload else {}
                    assert row | payload == row, f"{name} {pk} is {row}, not {head}"
            assert not rows, f"rows of {name} without a head: {list(rows)}"

    def converge(self):
        """A program that knows nothing of csync writes, then both sync: what it came to."""
        top = query(self.a, "SELECT coalesce(max(version), 0) AS top FROM csync._sync_log")[0]["top"]
        sql(self.a, "INSERT INTO person (id, name) VALUES (9001, 'afterwards')")
        seen = query(self.a, f"SELECT pk_value FROM csync._sync_log WHERE version > {top}")
        assert len(seen) == 1, "a write was not captured"
        script(self.b, "INSERT INTO person (id, name) VALUES (9002, 'afterwards')")
        with self.replicas() as (a, b):
            a.sync(b, batch_size=8)
            a.sync(b)
            assert a.hash() == b.hash()
            end = a.hash(), a.state.parked, b.state.parked
        self.check_rows()
        return end

    def kill_client(self, call, n):
        self.restore()
        killed = kill_points.kill_at(call, n, self.arguments())
        self.check()
        assert self.converge() == self.end
        return killed

    def kill_server(self, table, n):
        self.restore()
        sql(self.a, f"CREATE TRIGGER kill BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW "
                    f"EXECUTE FUNCTION saved.kill({n})", "SELECT setval('saved.written', 1, false)")
        run = subprocess.run([str(kill_points.VICTIM), *self.arguments()], capture_output=True, text=True, timeout=100)
        killed = "PostgreSQL" in run.stderr
        assert run.returncode == (1 if killed else 0), run.stderr
        self.wait_until_alone()
        sql(self.a, f"DROP TRIGGER kill ON {table}")
        self.check()
        assert self.converge() == self.end
        return killed


def stamps(heads):
    return {key: head.stamp for key, head in heads.items()}


def try_points(points, kill, figure, name):
    killed, failures = 0, []
    for point in points:
        try:
            killed += kill(*point)
        except Exception as error:
            failures.append(f"{point}: {error!r}")
    figure(f"kill -9, {name}: {len(points)} points tried, {killed} killed, {len(failures)} inconsistent")
    assert not failures, "\n".join(failures)
    return killed


@pytest.mark.parametrize("operation", OPERATIONS)
def test_nothing_is_half_done_after_a_kill_of_the_client(operation, postgres, tmp_path, figure):
    if kill_points.why_not():
        pytest.skip(f"NOT TESTED: kill -9 in the middle: {kill_points.why_not()}")
    world = World(postgres, tmp_path, operation)
    points = kill_points.choose(world.counts, CALLS)
    killed = try_points(points, world.kill_client, figure, f"client of PostgreSQL, {operation}")
    assert killed >= 0.9 * len(points)


def test_nothing_is_half_done_after_a_kill_of_the_server_process(postgres, tmp_path, figure):
    if not kill_points.VICTIM.exists():
        pytest.skip(f"NOT TESTED: kill -9 of the server process: {kill_points.VICTIM} is not built")
    world = World(postgres, tmp_path, "server")
    depth = {3: 1, 8: 2, None: 40}[kill_points.POINTS]
    points = [(table, n) for table in WRITTEN for n in range(1, depth + 1)]
    killed = try_points(points, world.kill_server, figure, "server process of PostgreSQL")
    assert killed >= len(WRITTEN)
