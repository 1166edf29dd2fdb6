"""How soon a commit of another program reaches a subscriber of a PostgreSQL database, and what waiting costs.

On a private server without fsync. BENCH_REPS: commits 20 ms after each other (200); BENCH_RARE: 2 s after each other
(30); BENCH_SILENCE: seconds of silence (60).
"""

import multiprocessing
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests/python"), str(ROOT / "bench/shared")]
import csync
import pg
from servers import cpu_of, setting


def write(url, count, pause):
    """The other program: psql, which is kept open; each row holds the time before its INSERT."""
    session = pg.Session(url)
    for _ in range(count):
        time.sleep(pause)
        session(f"INSERT INTO note(written) VALUES ({time.monotonic()!r})")
    session.close()


def latency(name, db, url, count, pause):
    with db.subscribe("note") as feed:
        writer = multiprocessing.get_context("spawn").Process(target=write, args=(url, count, pause))
        writer.start()
        late = sorted(1000 * (time.monotonic() - change.payload["written"]) for _, change in zip(range(count), feed))
        writer.join()
    print(f"{name:<24} median {statistics.median(late):6.1f} ms, p99 {late[count * 99 // 100]:6.1f} ms, "
          f"longest {late[-1]:6.1f} ms of {count}, from before the INSERT")


def silence(db, seconds):
    ((pid,),) = db.execute("SELECT pg_backend_pid()")
    with db.subscribe("note") as feed:
        feed.next(5)
        here, there = time.process_time(), cpu_of(pid)
        assert feed.next(seconds) is None
        here, there = time.process_time() - here, cpu_of(pid) - there
    minutes = seconds / 60
    print(f"{'silence':<24} {1000 * here / minutes:.0f} ms CPU a minute here and {1000 * there / minutes:.0f} ms in the "
          f"server's process, in {seconds} s")


def main():
    with pg.server() as home:
        url = pg.url(home, "postgres")
        session = pg.Session(url)
        session("CREATE TABLE note(id SERIAL PRIMARY KEY, written FLOAT8)")
        session.close()
        with csync.open(url) as db:
            db.track("note")
            latency("a commit each 20 ms", db, url, setting("BENCH_REPS", 200), 0.02)
            latency("a commit each 2 s", db, url, setting("BENCH_RARE", 30), 2)
            silence(db, setting("BENCH_SILENCE", 60))


if __name__ == "__main__":
    main()
