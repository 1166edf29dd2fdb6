/* links: sqlite3 */
/* bench_verify.c - what it costs to compare two replicas: time as ratios over csync_hash of one, and what travels. */
#include "bench.h"

static csync *open_replica(const char *path)
{
    csync *c = NULL;

    OK(csync_open(&c, path, NULL, err));
    OK(csync_execute(c, "PRAGMA journal_mode=WAL", NULL, 0, NULL, NULL, NULL, err));
    OK(csync_execute(c, "PRAGMA synchronous=NORMAL", NULL, 0, NULL, NULL, NULL, err));
    OK(csync_execute(c, PERSON_SQL, NULL, 0, NULL, NULL, NULL, err));
    OK(csync_track(c, "Person", NULL, err));
    return c;
}

static void fill(const char *path, long n)
{
    person *people = make_people(n, 1);
    sqlite3 *db = open_db(path);
    sqlite3_stmt *insert = prepare(db, PERSON_INSERT);

    sql(db, "BEGIN");
    for (long i = 0; i < n; i++) {
        bind_person(insert, i + 1, &people[i]);
        step(insert);
    }
    sql(db, "COMMIT");
    sqlite3_finalize(insert);
    sqlite3_close(db);
    free(people);
}

/* Every (rows / wrong)-th row becomes another, unseen by csync. */
static void spoil(csync *c, long rows, long wrong)
{
    char text[128];

    snprintf(text, sizeof text, "UPDATE Person SET Age=Age+100 WHERE Id%%%ld=1 AND Id<=%ld",
             rows / wrong, rows / wrong * wrong);
    OK(csync_suppress_begin(c, err));
    OK(csync_execute(c, text, NULL, 0, NULL, NULL, NULL, err));
    OK(csync_suppress_end(c, 1, err));
}

static long long count_in(const char *report, const char *name)
{
    const char *at = strstr(report, name);

    must(at != NULL, name, "is not in the report");
    return strtoll(at + strlen(name), NULL, 10);
}

static double verify(csync *a, csync *b, int repair, long long counts[3])
{
    csync_verify_options o = {.struct_size = sizeof o, .repair = repair};
    double from = cpu_us();
    char *report;

    OK(csync_verify(a, b, &o, &report, err));
    from = cpu_us() - from;
    counts[0] = count_in(report, "\"found\":");
    counts[1] = count_in(report, "\"rounds\":");
    counts[2] = count_in(report, "\"bytes\":");
    csync_free(report);
    return from;
}

static double hash(csync *c)
{
    char hex[CSYNC_HASH_SIZE];
    double from = cpu_us();

    OK(csync_hash(c, hex, err));
    return cpu_us() - from;
}

static void compare(csync *a, csync *b, long rows, long wrong, int reps, double plain)
{
    double look = 0, heal = 0;
    long long counts[3];

    for (int i = 0; i < reps; i++) {
        if (wrong)
            spoil(a, rows, wrong);
        least(&look, verify(a, b, 0, counts));
        must(counts[0] == wrong, "verify", "did not find the rows that differ");
        if (wrong) {
            long long healed[3];

            least(&heal, verify(a, b, 1, healed));
        }
    }
    printf("%7ld differ: %5.2f x hash (%4.0f ms), with repair %5.2f x; %2lld rounds, %8lld bytes\n",
           wrong, look / plain, look / 1e3, heal / plain, counts[1], counts[2]);
}

int main(void)
{
    static const long wrong[] = {0, 1, 100, 10000};
    long rows = 200000 / setting("BENCH_N", 1);
    int reps = (int)setting("BENCH_REPS", 2);
    double plain = 0;
    char path[2][128];
    csync *a, *b;

    keep_memory();
    snprintf(path[0], sizeof path[0], "%s", fresh_path("here"));
    snprintf(path[1], sizeof path[1], "%s", fresh_path("there"));
    a = open_replica(path[0]);
    b = open_replica(path[1]);
    fill(path[0], rows);
    OK(csync_sync(a, b, NULL, NULL, err));
    for (int i = 0; i < reps; i++)
        least(&plain, hash(a));
    printf("%ld rows on both sides; csync_hash of one: %.0f ms, %.2f us a row\n", rows, plain / 1e3,
           plain / (double)rows);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (wrong[i] <= rows / 2)
            compare(a, b, rows, wrong[i], reps, plain);
    csync_close(a);
    csync_close(b);
    remove_path("here");
    remove_path("there");
    return 0;
}
