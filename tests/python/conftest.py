"""What the Python tests share.

Environment: CSYNC_TEST_PROFILE (quick, default or long) says how hard Hypothesis tries; CSYNC_TEST_DATA names
the directory that holds data/chinook.sql.
"""

import contextlib
import gc
import os
import pathlib
import signal
import sqlite3

import hypothesis
import pytest

import conformance
import csync
import postgres_replicas
from note_table import NOTE

_CALM = {
    "deadline": None,
    "database": None,
    "print_blob": True,
    "suppress_health_check": [
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
}
hypothesis.settings.register_profile("quick", max_examples=25, derandomize=True, **_CALM)
hypothesis.settings.register_profile("default", max_examples=100, **_CALM)
hypothesis.settings.register_profile("long", max_examples=2000, **_CALM)
hypothesis.settings.load_profile(os.environ.get("CSYNC_TEST_PROFILE", "default"))


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "error")
    config.addinivalue_line("markers", "alone: it measures time, so nothing else runs beside it")
    # A shell starts what runs in the background with SIGINT ignored, which Python and its children inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header():
    return f"csync {csync.__version__}, SQLite {sqlite3.sqlite_version}, profile " + os.environ.get(
        "CSYNC_TEST_PROFILE", "default"
    )


def pytest_terminal_summary(terminalreporter):
    """What tests have measured: see the fixture figure."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        if report.when == "call":
            for name, value in report.user_properties:
                if name == "figure":
                    terminalreporter.write_line(value)


@pytest.fixture
def figure(request):
    """figure(text): a result of the test that a reader wants to see, printed when all tests have ended."""
    return lambda text: request.node.user_properties.append(("figure", text))


@pytest.fixture(scope="module", autouse=True)
def nothing_is_forgotten_for_long():
    """What the quick look below overlooks."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def nothing_is_forgotten():
    """A replica that a test leaves open warns when it is collected, and a warning is an error.

    The young generations only: all of them cost 36 ms a test.
    """
    yield
    gc.collect(1)


@pytest.fixture
def sql():
    """sql(path, statement, params=()): runs one statement, or a script, as another program would.

    A connection of Python's own sqlite3 that knows nothing of csync; commits, closes, returns the rows.
    """

    def run(path, statement, params=()):
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("PRAGMA foreign_keys = ON")
            try:
                return connection.execute(statement, params).fetchall()
            except (sqlite3.Warning, sqlite3.ProgrammingError) as error:
                if "one statement" not in str(error):
                    raise
                connection.executescript(statement)
                return []

    return run


@pytest.fixture
def database(tmp_path):
    """database(schema="", name=None): the path of a new SQLite file with that schema."""
    made = 0

    def make(schema="", name=None):
        nonlocal made
        made += 1
        path = tmp_path / (name or f"replica{made}.db")
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript(schema)
        return path

    return make


@pytest.fixture
def replica(database):
    """replica(schema="", *tables, name=None, **options): an open replica that tracks these tables.

    `db.path` is its file. All of them are closed after the test.
    """
    with contextlib.ExitStack() as stack:

        def make(schema="", *tables, name=None, **options):
            path = database(schema, name)
            db = stack.enter_context(csync.open(path, **options))
            db.path = path
            if tables:
                db.track(*tables)
            return db

        yield make


@pytest.fixture(scope="session")
def postgres():
    """The directory of the socket of a private PostgreSQL server."""
    yield from postgres_replicas.start()


@pytest.fixture
def pg_replica(postgres):
    """pg_replica(schema="", *tables, **options): an open replica of a new PostgreSQL database.

    `db.url` names it; db.sql(statement) is another program, db.more_sql() one more.
    """
    yield from postgres_replicas.make(postgres)


@pytest.fixture(params=conformance.PAIRS)
def world(request, replica, pg_replica, sql):
    """Replicas of the two kinds of database that the parameter names: see conformance.World."""
    return conformance.World(request.param, replica, pg_replica, sql)


@pytest.fixture
def replicas(replica):
    """replicas(schema, *tables, count=2): that many replicas of one schema."""

    def make(schema, *tables, count=2):
        return [replica(schema, *tables) for _ in range(count)]

    return make


@pytest.fixture
def notes(replicas):
    """Two replicas that track table note."""
    return replicas(NOTE, "note")


@pytest.fixture
def conflict(notes):
    """Two replicas whose note 1 was edited on both sides: body "left", then body "right"."""
    left, right = notes
    left.execute("INSERT INTO note VALUES (1, 'start', 10)")
    right.sync(left)
    left.execute("UPDATE note SET body = 'left', votes = votes + 5")
    right.execute("UPDATE note SET body = 'right', votes = votes + 7")
    return left, right


@pytest.fixture(scope="session")
def chinook():
    """The text of chinook.sql, a real database with foreign keys."""
    root = os.environ.get("CSYNC_TEST_DATA")
    if not root:
        pytest.skip("NOT TESTED on real data: CSYNC_TEST_DATA does not name the directory with data/chinook.sql")
    return (pathlib.Path(root) / "data" / "chinook.sql").read_text(encoding="utf-8-sig")


@pytest.fixture(scope="session")
def chinook_files(chinook, tmp_path_factory):
    """Two files that csync has never seen: Chinook, and its schema without a row."""
    directory = tmp_path_factory.mktemp("chinook")
    full, empty = directory / "full.db", directory / "empty.db"
    with contextlib.closing(sqlite3.connect(full)) as connection:
        connection.executescript("BEGIN;" + chinook + ";COMMIT")
        schema = [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
    with contextlib.closing(sqlite3.connect(empty)) as connection:
        connection.executescript(";".join(schema))
    return full, empty


@pytest.fixture
def pair(replicas):
    """A server that has the notes 1, 2 and 3, and a client that has note 7: for the tests of what is between them."""
    server, client = replicas(NOTE, "note")
    server.execute("INSERT INTO note VALUES (1, 'row 1', 0), (2, 'row 2', 0), (3, 'row 3', 0)")
    client.execute("INSERT INTO note VALUES (7, 'row 7', 0)")
    return server, client
