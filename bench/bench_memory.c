/* links: sqlite3 */
/* bench_memory.c - the peak memory of a replica that a million rows go through: as a reader, as the one who is
 * asked, and as a snapshot. Each runs in a process of its own, which reads the peak from /proc/self/status.
 *
 * BENCH_N divides the rows. */
#include <sys/wait.h>

#include "bench.h"

enum { ROWS = 1000000, PAGE = 1000 };

static const char *source_path, *target_path;
static long rows;

static long peak_kib(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long kib = 0;

    must(file != NULL, "memory", "/proc/self/status cannot be read");
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1)
            break;
    fclose(file);
    return kib;
}

static csync *open_replica(const char *path)
{
    csync *c;

    OK(csync_open(&c, path, NULL, err));
    OK(csync_execute(c, "PRAGMA synchronous=NORMAL", NULL, 0, NULL, NULL, NULL, err));
    return c;
}

static void make_replica(const char *path)
{
    sqlite3 *db = open_db(path);
    csync *c;

    sql(db, PERSON_SQL);
    sqlite3_close(db);
    c = open_replica(path);
    OK(csync_track(c, "Person", NULL, err));
    csync_close(c);
}

static void fill_source(void)
{
    sqlite3 *db;
    sqlite3_stmt *stmt;
    person *people = make_people(PAGE, 1);

    make_replica(source_path);
    db = open_db(source_path);
    stmt = prepare(db, PERSON_INSERT);
    for (long i = 0; i < rows; i += PAGE) {
        sql(db, "BEGIN");
        for (long k = i; k < i + PAGE && k < rows; k++) {
            bind_person(stmt, k + 1, &people[k - i]);
            step(stmt);
        }
        sql(db, "COMMIT");
    }
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    free(people);
}

/* ---- what is measured ---- */

static void nothing(void)
{
    csync_close(open_replica(source_path));
}

/* Asked before: local writes are heads, and what is applied is logged. */
static void first_question(void)
{
    csync *c = open_replica(source_path);
    csync_fetch fetch = {.struct_size = sizeof fetch, .limit = 1};
    csync_batch *page;

    OK(csync_changes(c, &fetch, &page, err));
    csync_batch_free(page);
    csync_close(c);
}

static void serve(void)
{
    csync *c = open_replica(source_path);
    csync_fetch fetch = {.struct_size = sizeof fetch, .limit = PAGE};
    csync_batch_info info = {.struct_size = sizeof info, .has_more = 1};
    long served = 0;

    while (info.has_more) {
        csync_batch *page;
        char *json;

        OK(csync_changes(c, &fetch, &page, err));
        OK(csync_batch_to_json(page, &json, NULL, err));
        OK(csync_batch_get_info(page, &info));
        served += (long)csync_batch_count(page);
        fetch.since = info.to_version;
        csync_free(json);
        csync_batch_free(page);
    }
    must(served == rows, "serving", "not every row was served");
    csync_close(c);
}

static void take_all(const char *what, int64_t resyncs)
{
    csync *source = open_replica(source_path), *target;
    csync_sync_options o = {.struct_size = sizeof o, .direction = CSYNC_PULL, .batch_size = PAGE};
    csync_result result = {.struct_size = sizeof result};

    make_replica(target_path);
    target = open_replica(target_path);
    OK(csync_sync(target, source, &o, &result, err));
    must(result.pulled == rows && result.resyncs == resyncs, what, "not every row arrived");
    csync_close(target);
    csync_close(source);
}

static void pull(void)
{
    take_all("pull", 0);
}

static void hash(void)
{
    csync *c = open_replica(source_path);
    char hex[CSYNC_HASH_SIZE];

    OK(csync_hash(c, hex, err));
    csync_close(c);
}

/* From now on the log no longer begins at the beginning. */
static void purge(void)
{
    csync *c = open_replica(source_path);
    csync_state state = {.struct_size = sizeof state};
    csync_purged purged = {.struct_size = sizeof purged};

    OK(csync_get_state(c, &state, err));
    OK(csync_register_client(c, "somebody", state.max_version, err));
    OK(csync_purge(c, NULL, &purged, err));
    must(purged.entries > rows / 2, "purge", "the log is still there");
    csync_close(c);
}

static void serve_snapshot(void)
{
    csync *c = open_replica(source_path);
    csync_fetch fetch = {.struct_size = sizeof fetch, .limit = PAGE, .cursor = ""};
    csync_batch_info info = {.struct_size = sizeof info, .has_more = 1};
    csync_batch *page = NULL, *last = NULL;
    long served = 0;

    while (info.has_more) {
        char *json;

        OK(csync_changes(c, &fetch, &page, err));
        csync_batch_free(last); /* the cursor was borrowed from it */
        OK(csync_batch_to_json(page, &json, NULL, err));
        OK(csync_batch_get_info(page, &info));
        served += (long)csync_batch_count(page);
        fetch.cursor = info.cursor;
        csync_free(json);
        last = page;
    }
    csync_batch_free(last);
    must(served == rows, "snapshot", "not every row was served");
    csync_close(c);
}

static void resync(void)
{
    take_all("resync", 1);
}

/* ---- each in a process of its own ---- */

static void in_child(const char *name, void (*work)(void))
{
    int status = 0;
    pid_t child;

    fflush(stdout);
    child = fork();
    must(child >= 0, name, "no process");
    if (child == 0) {
        double from = cpu_us();

        work();
        printf("%-44s %6.1f MiB at most  %6.2f s of CPU\n", name, (double)peak_kib() / 1024,
               (cpu_us() - from) / 1e6);
        fflush(stdout);
        _exit(0);
    }
    must(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0, name,
         "failed");
}

static const char *path_of(const char *name)
{
    const char *path = fresh_path(name);
    char *copy = malloc(strlen(path) + 1);

    must(copy != NULL, name, "out of memory");
    return strcpy(copy, path);
}

int main(void)
{
    rows = ROWS / setting("BENCH_N", 1);
    source_path = path_of("source");
    target_path = path_of("target");
    printf("%ld rows, pages of %d, SQLite %s\n", rows, PAGE, sqlite3_libversion());
    in_child("filling the source by plain inserts", fill_source);
    in_child("opening and closing", nothing);
    in_child("the first question: heads of all rows", first_question);
    in_child("serving all pages as JSON", serve);
    in_child("pull into an empty replica, both sides", pull);
    in_child("hash of all rows", hash);
    in_child("purge of the log", purge);
    in_child("serving the snapshot as JSON", serve_snapshot);
    fresh_path("target");
    in_child("full resync of an empty replica, both sides", resync);
    fresh_path("target");
    remove_path("source");
    return 0;
}
