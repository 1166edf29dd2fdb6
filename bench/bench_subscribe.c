/* links: sqlite3 */
/* bench_subscribe.c - how soon a change of another process reaches a subscriber, and what waiting costs.
 *
 * BENCH_REPS: how many changes (200); BENCH_SILENCE: how many seconds of silence (30). */
#include <sys/wait.h>

#include "bench.h"

static double wall_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void pause_ms(int ms)
{
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

    nanosleep(&t, NULL);
}

/* The other process: at each byte it writes the time, one row, and waits a little so that all is idle. */
static void write_rows(const char *path, const char *pragma, int orders, long count)
{
    sqlite3 *db;
    sqlite3_stmt *insert;
    char byte;

    must(read(orders, &byte, 1) == 1, "the first order", "did not come");
    must(sqlite3_open(path, &db) == SQLITE_OK, path, "cannot be opened");
    sqlite3_busy_timeout(db, 5000);
    sql(db, pragma);
    insert = prepare(db, "INSERT INTO note(written) VALUES(?1)");
    for (long i = 0; i < count; i++) {
        pause_ms(20);
        sqlite3_bind_double(insert, 1, wall_ms());
        step(insert);
    }
    sqlite3_finalize(insert);
    sqlite3_close(db);
    _exit(0);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double written_at(const csync_change *change)
{
    const char *at = strstr(change->payload, "\"written\":");

    must(at != NULL, change->payload, "has no time in it");
    return strtod(at + 10, NULL);
}

static void take(csync_subscription *feed, double *late, long count)
{
    csync_batch *batch = NULL;

    for (long i = 0; i < count;) {
        OK(csync_subscription_next(feed, 10000, &batch, err));
        must(batch != NULL, "a change", "did not come within 10 s");
        for (size_t n = 0; n < csync_batch_count(batch); n++)
            late[i++] = wall_ms() - written_at(csync_batch_at(batch, n));
        csync_batch_free(batch);
    }
}

static void print_latency(const char *name, double *late, long count)
{
    qsort(late, (size_t)count, sizeof *late, by_size);
    printf("%-28s median %6.2f ms, p99 %6.2f ms, max %6.2f ms of %ld, from before the INSERT\n",
           name, late[count / 2], late[count * 99 / 100], late[count - 1], count);
}

static void print_silence(csync_subscription *feed, int seconds)
{
    csync_batch *batch = NULL;
    double cpu;

    OK(csync_subscription_next(feed, 1000, &batch, err));
    cpu = cpu_us();
    OK(csync_subscription_next(feed, seconds * 1000, &batch, err));
    must(batch == NULL, "silence", "was broken");
    printf("%-28s %.3f ms CPU in %d s: %.3f ms a minute\n", "silence", (cpu_us() - cpu) / 1e3,
           seconds, (cpu_us() - cpu) / 1e3 * 60 / seconds);
}

static void measure(const char *name, const char *pragma, int seconds)
{
    long count = setting("BENCH_REPS", 200);
    double *late = calloc((size_t)count, sizeof *late);
    const char *path = fresh_path("subscribe");
    csync_subscription *feed = NULL;
    csync *c = NULL;
    sqlite3 *db;
    int orders[2];
    pid_t child;

    must(late != NULL && pipe(orders) == 0, "pipe", "cannot be made");
    child = fork(); /* before there is a connection to inherit */
    if (child == 0)
        write_rows(path, pragma, orders[0], count);
    must(sqlite3_open(path, &db) == SQLITE_OK, path, "cannot be opened");
    sql(db, pragma);
    sql(db, "CREATE TABLE note(id INTEGER PRIMARY KEY, written REAL)");
    sqlite3_close(db);
    OK(csync_open(&c, path, NULL, err));
    OK(csync_track(c, "note", NULL, err));
    OK(csync_subscribe(&feed, c, NULL, err));
    must(write(orders[1], "!", 1) == 1, "the order", "cannot be given");
    take(feed, late, count);
    waitpid(child, NULL, 0);
    print_latency(name, late, count);
    if (seconds)
        print_silence(feed, seconds);
    csync_subscription_close(feed);
    csync_close(c);
    free(late);
}

int main(void)
{
    measure("WAL, synchronous=NORMAL", "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL", 0);
    measure("WAL, synchronous=FULL", "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", 0);
    measure("rollback, synchronous=FULL", "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL",
            (int)setting("BENCH_SILENCE", 30));
    remove_path("subscribe");
    return 0;
}
