"""The commands of the program csync that are written in Python: everything but serve and token."""

import argparse
import dataclasses
import json
import os
import pathlib
import sqlite3
import sys
import time
from contextlib import ExitStack, closing, contextmanager

import csync
from csync import _errors, _http, _json, _model

DONE, FAILED, USAGE, DIFFERENT, UNREACHABLE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
MOST = 10000  # changes of a page
_URLS = ("http://", "https://")

EXIT_CODES = """exit status: 0 done; 1 failed; 2 not understood; 3 verify: not equal, doctor: something is wrong; 4 the peer cannot
be reached, so try again later; 5 the peer does not let us; 130 interrupted.

A database is a file, sqlite:FILE, or postgresql://...; a peer is a database, or the URL of a server. The token for a server
is read from --token-file, or the environment: CSYNC_TOKEN."""


class Trouble(_errors.Error):
    """What the user has to hear."""


# ---- Opening


def _file_of(database):
    """The path of an SQLite file; None: it is something else."""
    if database.startswith(("postgresql:", *_URLS)):
        return None
    return pathlib.Path(database.removeprefix("sqlite:"))


def _is_replica(path):
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sync_state'").fetchall())


def _open(database, becomes=False):
    """A Replica. Nothing is made where nothing is, and no file becomes a replica by being looked at."""
    path = _file_of(database)
    if database.startswith(_URLS):
        raise Trouble(f"{database.split('?')[0]} is a server; the first database has to be one that can be opened here")
    if path is not None:
        if not path.is_file():
            raise Trouble(f"there is no file {path}")
        try:
            known = becomes or _is_replica(path)
        except sqlite3.DatabaseError as why:
            raise Trouble(f"{path} cannot be read: {why}") from None
        if not known:
            raise Trouble(f"{path} is no replica yet: csync track {path} TABLE...")
    return csync.open(database)


def _token(options):
    if options.token_file is None:
        return os.environ.get("CSYNC_TOKEN") or None
    try:
        return pathlib.Path(options.token_file).read_text().strip()
    except (OSError, ValueError) as why:
        raise Trouble(f"the token cannot be read: {why}") from None


@contextmanager
def _both(options):
    """The database, and the peer as sync takes it."""
    with ExitStack() as stack:
        db = stack.enter_context(_open(options.database))
        if options.peer.startswith(_URLS):
            yield db, options.peer, _token(options)
        else:
            yield db, stack.enter_context(_open(options.peer)), None


# ---- Saying


class Meter:
    """How far a sync is, on a terminal; else nothing."""

    def __init__(self, options):
        self.shows = sys.stderr.isatty() and not options.json and not options.quiet
        self.next = 0.0

    def __call__(self, progress):
        now = time.monotonic()
        if self.shows and now >= self.next:
            self.next = now + 0.1
            of = f" of {progress.total:,}" if progress.total else ""
            print(f"\r\033[K{progress.phase} {progress.changes:,}{of}", end="", file=sys.stderr, flush=True)

    def clear(self):
        if self.shows:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _camel(name):
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _named(thing):
    """A dataclass as JSON has it."""
    return {_camel(field.name): getattr(thing, field.name) for field in dataclasses.fields(thing)}


def _say(options, found, *lines):
    """The answer: a JSON text or what json.dumps takes, or lines for people."""
    if options.json:
        print(found if isinstance(found, str) else json.dumps(found))
    elif not getattr(options, "quiet", False):
        for line in lines:
            print(line)


def _say_list(options, as_json, as_rows):
    """A list: a JSON text, or rows. Functions make them, since each reads the database."""
    if options.json:
        print(as_json())
    else:
        for line in _columns(as_rows()):
            print(line)


def _columns(rows):
    """Lines of equal columns."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _counts(result):
    """Those that say something, as words."""
    shown = {name: value for name, value in vars(result).items() if value and name != "outcomes"}
    return ", ".join(f"{name} {value:,}" for name, value in {"pulled": 0, "pushed": 0, **shown}.items())


def _text(change):
    payload = "" if change.payload_json is None else change.payload_json
    return (change.version, change.timestamp, change.operation, change.table_name, change.pk_json, payload)


# ---- Commands


def _sync(options):
    if options.dry_run:
        return _foretell(options)
    meter = Meter(options)
    with _both(options) as (db, peer, token):
        call = getattr(db, options.command)
        try:
            result = call(
                peer, token=token, strategy=options.strategy, batch_size=options.batch_size, progress=meter
            )
        finally:
            meter.clear()
        found = _named(result)
        del found["outcomes"]
        _say(options, found, _counts(result))
    return DONE


def _foretell(options):
    """Reads both logs and applies nothing. What is pulled back of one's own, or loses, is counted, too."""
    with _both(options) as (db, peer, token), ExitStack() as stack:
        if not isinstance(peer, str):
            peer = _model.Remote(peer.changes, None, peer.origin)
        remote = stack.enter_context(_http.reach(peer, token))
        found = {}
        if options.command != "push":
            found["pull"] = _incoming(db, remote)
        if options.command != "pull":
            found["push"] = _outgoing(db, remote)
        lines = [f"would {name}: {_forecast(what)}" for name, what in found.items()]
        _say(options, {"dryRun": True, **found}, *lines)
    return DONE


def _forecast(what):
    if what["resync"]:
        return "a snapshot: the peer's log does not lead on"
    tables = ", ".join(f"{name} {count:,}" for name, count in what["tables"].items())
    return f"{what['changes']:,} changes{' and more' if what['more'] else ''}{f' ({tables})' if tables else ''}"


def _count(batch, into):
    for change in batch:
        into["changes"] += 1
        into["tables"][change.table_name] = into["tables"].get(change.table_name, 0) + 1


def _incoming(db, remote):
    found = {"changes": 0, "tables": {}, "more": False, "resync": False}
    step = csync.Session(db, remote.name, direction="pull", batch_size=MOST).next()
    position = step.since
    try:
        while step.kind == "fetch":
            page = remote.fetch(position, MOST)
            _count(page, found)
            if not page.has_more or position.cursor is not None:
                found["more"] = page.has_more
                break
            position = csync.Position(page.to_version, page.epoch, position.origin)
    except csync.FullResyncRequired:
        found["resync"] = True
    return found


def _outgoing(db, remote):
    found = {"changes": 0, "tables": {}, "more": False, "resync": False}
    step = csync.Session(db, remote.name, direction="push", batch_size=MOST).next()
    if step.kind == "send":
        _count(step.batch, found)
        found["more"] = step.batch.has_more
    return found


def _verify(options):
    with _both(options) as (db, peer, token):
        found = db.verify(peer, repair=options.repair, limit=options.limit, token=token)
        rows = [
            (row.table, _json.dump_row(row.pk), row.kind, row.explained or row.reason, "repaired" if row.repaired else "")
            for row in found.rows
        ]
        notes = [f"{table.table}: {table.note}" for table in found.tables if table.note]
        lines = ["equal"] if found.equal else [*_columns(rows), *notes, f"{found.found:,} differ, {found.repaired:,} repaired"]
        as_json = {
            "equal": found.equal,
            "found": found.found,
            "repaired": found.repaired,
            "tables": [_named(table) for table in found.tables],
            "rows": [
                {
                    "table": row.table,
                    "pk": _json.dump_row(row.pk),
                    "kind": row.kind,
                    "explained": row.explained,
                    "repaired": row.repaired,
                    "reason": row.reason,
                }
                for row in found.rows
            ],
        }
        _say(options, as_json, *lines)
        left = found.found - found.repaired
    return DONE if found.equal or (options.repair and left == 0) else DIFFERENT


def _say_tables(options, db):
    _say_list(options, db._tables, lambda: [(t.name, t.capture) for t in db.tables()])


def _track(options):
    with _open(options.database, becomes=True) as db:
        db.track(*options.tables, capture=options.capture)
        _say_tables(options, db)
    return DONE


def _untrack(options):
    with _open(options.database) as db:
        db.untrack(*options.tables)
        _say_tables(options, db)
    return DONE


def _status(options):
    with _open(options.database) as db:
        state, tables = db.state, db.tables()
        found = {**_named(state), "tables": [{"name": t.name, "capture": t.capture} for t in tables]}
        facts = [
            ("origin", state.origin),
            ("version", state.max_version),
            ("tables", ", ".join(t.name for t in tables) or "none: csync track"),
            ("parked", state.parked),
            ("conflicts", state.conflicts),
        ]
        _say(options, found, *_columns(facts))
    return DONE


def _log(options):
    with _open(options.database) as db:
        page = db.changes(options.since, options.limit)
        more = [f"more: --since {page.to_version}"] if page.has_more else []
        _say(options, page.to_json(), *_columns(map(_text, page)), *more)
    return DONE


def _hash(options):
    with _open(options.database) as db:
        found = db.hash()
        _say(options, {"hash": found}, found)
    return DONE


def _purge(options):
    with _open(options.database) as db:
        purged = db.purge(options.days)
        line = f"the log begins at {purged.version}; dropped {purged.entries:,} entries, {purged.tombstones:,} deleted rows"
        _say(options, _named(purged), line)
    return DONE


def _clients(options):
    with _open(options.database) as db:
        _say_list(
            options,
            lambda: db._clients(options.days),
            lambda: [(c.origin, c.version, c.last_sync, "stale" if c.stale else "") for c in db.clients(options.days)],
        )
    return DONE


def _conflicts(options):
    with _open(options.database) as db:
        span = options.since, options.limit
        _say_list(
            options,
            lambda: db._conflicts(*span),
            lambda: [
                (c.id, c.at, c.table, _json.dump_row(c.pk), c.strategy, c.decision) for c in db.conflicts(*span)
            ],
        )
    return DONE


def _parked(options):
    with _open(options.database) as db:
        _say_list(
            options,
            db._parked,
            lambda: [(p.since, p.table, _json.dump_row(p.pk), p.reason, p.message) for p in db.parked()],
        )
    return DONE


def _doctor(options):
    with _open(options.database) as db:
        found = db.doctor()
        lines = [f"{a.level}: {a.subject}: {a.text}{f' ({a.help})' if a.help else ''}" for a in found]
        _say(options, [_named(advice) for advice in found], *(lines or ["nothing is wrong"]))
    return DIFFERENT if any(advice.level == "error" for advice in found) else DONE


def _demo(options):
    from csync import _demo

    return _demo.run(options.database)


# ---- Arguments


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _version(text):
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def _add_peer(parser):
    parser.add_argument("peer", metavar="PEER", help="a database, or the URL of a server")
    parser.add_argument("--token-file", metavar="FILE", help="holds the token for the server; else CSYNC_TOKEN does")


def _add_sync(commands, name, text):
    parser = _add(commands, name, _sync, text)
    _add_peer(parser)
    parser.add_argument("--strategy", choices=("last-write-wins", "server-wins", "client-wins"), help="who wins conflicts")
    parser.add_argument("--batch-size", type=_positive, default=1000, metavar="N", help="changes of a transaction")
    parser.add_argument("--dry-run", action="store_true", help="read both logs, apply nothing, and say what there is")
    parser.add_argument("--quiet", action="store_true", help="say nothing but what fails")


def _add(commands, name, run, text, **more):
    parser = commands.add_parser(name, help=text, description=text, epilog=EXIT_CODES)
    parser.set_defaults(run=run)
    parser.add_argument("database", metavar="DATABASE", help="a file, or postgresql://...", **more)
    parser.add_argument("--json", action="store_true", help="answer in JSON, also where it fails")
    return parser


def _parser():
    parser = argparse.ArgumentParser(
        prog="csync", description="Keeps databases in step by two-way sync.", epilog=EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"csync {csync.__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    _add_sync(commands, "sync", "pull from the peer, then push to it")
    _add_sync(commands, "pull", "take the peer's changes")
    _add_sync(commands, "push", "give the peer this database's changes")
    verify = _add(commands, "verify", _verify, "compare with the peer, and name the rows that differ")
    _add_peer(verify)
    verify.add_argument("--repair", action="store_true", help="take the peer's row where something wrote past csync")
    verify.add_argument("--limit", type=_positive, default=1000, metavar="N", help="name at most so many rows")
    track = _add(commands, "track", _track, "capture every write to these tables from now on")
    track.add_argument("tables", nargs="+", metavar="TABLE")
    track.add_argument("--capture", choices=("full", "keys"), default="full", help="what is logged: rows, or only keys")
    untrack = _add(commands, "untrack", _untrack, "stop capturing these tables, and forget their sync state")
    untrack.add_argument("tables", nargs="+", metavar="TABLE")
    _add(commands, "status", _status, "the database's own numbers")
    log = _add(commands, "log", _log, "the changes after a version")
    conflicts = _add(commands, "conflicts", _conflicts, "who lost what to whom")
    for paged, word in ((log, "version"), (conflicts, "entry")):
        paged.add_argument("--since", type=_version, default=0, metavar="N", help=f"begin after this {word}")
        paged.add_argument("--limit", type=_positive, default=1000, metavar="N", help="at most so many")
    _add(commands, "parked", _parked, "changes that won and cannot enter their table yet, and why")
    _add(commands, "hash", _hash, "SHA-256 of the tracked tables: equal for equal data")
    for name, run, text in (
        ("clients", _clients, "who reads the log, and how far"),
        ("purge", _purge, "drop what every client has read"),
    ):
        parser_of = _add(commands, name, run, text)
        parser_of.add_argument("--days", type=_positive, default=90, metavar="N", help="of silence; then a client is stale")
    _add(commands, "doctor", _doctor, "what is wrong with the database, and what helps")
    demo = commands.add_parser(
        "demo",
        help="two replicas edited offline, brought together and checked",
        description="Shows csync at work in a temporary directory, checks the result, and leaves nothing behind.",
    )
    demo.set_defaults(run=_demo, json=False)
    demo.add_argument(
        "database",
        nargs="?",
        metavar="DATABASE",
        help="an SQLite file, or a script of SQL, to do it with as well; it is copied, never written",
    )
    commands.add_parser("serve", help="the REST API and event streams over HTTP", add_help=False)
    commands.add_parser("token", help="who may ask a server", add_help=False)
    return parser


def _fail(options, why):
    text = str(why) or type(why).__name__
    if options.json:
        print(json.dumps({"error": {"code": getattr(why, "code", "CSYNC_ERROR"), "message": text}}))
    else:
        print(f"csync: {text}", file=sys.stderr)
    if isinstance(why, _errors.NetworkError):
        return UNREACHABLE
    return REFUSED if isinstance(why, _errors.AuthError) else FAILED


def run(arguments):
    """Runs a command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status = options.run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (_errors.Error, OSError) as why:
        return _fail(options, why)
