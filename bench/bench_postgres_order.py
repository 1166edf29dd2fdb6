"""What it costs the writers of a PostgreSQL database that no reader may skip a commit: 16 of them, with a reader beside,
against the same triggers and log without the lock that readers respect. Rounds take turns; the median is printed.

Seconds of each round: BENCH_SECONDS (8); rounds: BENCH_REPS (5).
"""

import contextlib
import os
import pathlib
import statistics
import sys
import tempfile

import csync

sys.path.append(str(pathlib.Path(__file__).parent.parent / "tests" / "python"))
import pg  # noqa: E402
from pg_writers import SCHEMA, LogReader, Writers  # noqa: E402

SECONDS = int(os.environ.get("BENCH_SECONDS", "8"))
ROUNDS = int(os.environ.get("BENCH_REPS", "5"))
# of the same length, but nobody's lock is taken
NAIVE = """CREATE OR REPLACE FUNCTION csync._sync_enter() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
  RETURN csync._sync_now(); END $$"""


class Contestant:
    def __init__(self, stack, home, name, horizon, change=None):
        admin = pg.Session(f"postgresql://postgres@/postgres?host={home}")
        admin(f"CREATE DATABASE {name}")
        admin.close()
        self.name, self.url = name, f"postgresql://postgres@/{name}?host={home}"
        session = pg.Session(self.url)
        stack.callback(session.close)
        session(SCHEMA)
        self.db = stack.enter_context(csync.open(self.url))
        self.db.track("note")
        if change:
            session(change)
        self.reader, self.rates = LogReader(self.db, horizon), []

    def run(self, folder):
        with Writers(self.url, folder, seconds=SECONDS) as writers:
            while writers.at_work:
                self.reader.poll()
            self.rates.append(writers.transactions())

    def report(self):
        self.reader.poll()
        print(f"{self.name:6} {statistics.median(self.rates):8.0f} transactions/s, {len(self.reader.entries):7} changes read,"
              f" {self.reader.missed():6} missed, {self.reader.out_of_order():4} out of order")


def main():
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(pg.server())
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        naive = Contestant(stack, home, "naive", "csync._sync_last()", NAIVE)
        ours = Contestant(stack, home, "csync", "csync._sync_horizon()")
        for _ in range(ROUNDS):
            for contestant in (naive, ours):
                contestant.run(folder)
        for contestant in (naive, ours):
            contestant.report()
        ratio = statistics.median(a / b for a, b in zip(ours.rates, naive.rates))
        print(f"csync / naive: {ratio:.2f} (bar: 0.9)")


main()
