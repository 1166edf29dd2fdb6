/* links: sqlite3 */
/* bench_capture.c - what tracking a table costs whoever writes it, in the time of the same statements on an
 * untracked table. */
#include "bench.h"

enum { ROWS = 300000, SINGLES = 3000 };
enum { UNTRACKED, FULL, KEYS, KINDS };
enum { INSERT, UPDATE, DELETE, OPERATIONS };

static const char *const statements[OPERATIONS] = {
    PERSON_INSERT, "UPDATE Person SET Name=?2, Email=?3, Age=?4, Score=?5 WHERE Id=?1",
    "DELETE FROM Person WHERE Id=?1"};
static const char *const operation_names[OPERATIONS] = {"insert", "update", "delete"};
static const char *const kind_names[KINDS] = {"untracked", "full", "keys"};

/* Tracked by csync, which is gone when the writes begin. */
static sqlite3 *make_db(int kind)
{
    const char *path = fresh_path("capture");
    sqlite3 *db = open_db(path);
    csync_track_options o = {.struct_size = sizeof o,
                             .capture = kind == KEYS ? CSYNC_CAPTURE_KEYS : 0};
    csync *replica;

    sql(db, PERSON_SQL);
    if (kind == UNTRACKED)
        return db;
    OK(csync_open(&replica, path, NULL, err));
    OK(csync_track(replica, "Person", &o, err));
    csync_close(replica);
    return db;
}

static double run(sqlite3 *db, int operation, const person *people, long rows, int singly)
{
    sqlite3_stmt *stmt = prepare(db, statements[operation]);
    double from = cpu_us();

    if (!singly)
        sql(db, "BEGIN");
    for (long i = 0; i < rows; i++) {
        if (operation == DELETE)
            sqlite3_bind_int64(stmt, 1, i + 1);
        else
            bind_person(stmt, i + 1, &people[i]);
        step(stmt);
    }
    if (!singly)
        sql(db, "COMMIT");
    from = cpu_us() - from;
    sqlite3_finalize(stmt);
    return from;
}

static void measure(int kind, person *const people[2], long rows, int singly, double best[OPERATIONS])
{
    sqlite3 *db = make_db(kind);

    for (int o = 0; o < OPERATIONS; o++)
        least(&best[o], run(db, o, people[o == UPDATE], rows, singly));
    if (kind != UNTRACKED) {
        sqlite3_stmt *stmt = prepare(db, "SELECT count(*) FROM _sync_log");

        must(sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_int64(stmt, 0) == 3 * rows,
             "capture", "the log does not hold every write");
        sqlite3_finalize(stmt);
    }
    sqlite3_close(db);
}

static void print(double best[KINDS][OPERATIONS], long rows, int singly)
{
    static const int bars[KINDS] = {0, 6, 3};

    for (int k = 0; k < KINDS; k++)
        for (int o = 0; o < OPERATIONS; o++) {
            printf("capture %-6s %-9s %5.2fx untracked  %7.3f us/row", operation_names[o],
                   kind_names[k], best[k][o] / best[UNTRACKED][o], best[k][o] / (double)rows);
            if (!singly && bars[k])
                printf("   (bar: at most %d)", bars[k]);
            puts(singly ? "   one row per transaction" : "");
        }
}

int main(void)
{
    long reps = setting("BENCH_REPS", 3), rows = ROWS / setting("BENCH_N", 1);
    person *people[2] = {make_people(rows, 1), make_people(rows, 2)};
    double many[KINDS][OPERATIONS] = {{0}}, single[KINDS][OPERATIONS] = {{0}};

    keep_memory();
    for (long rep = 0; rep < reps; rep++)
        for (int k = 0; k < KINDS; k++) {
            measure(k, people, rows, 0, many[k]);
            measure(k, people, SINGLES < rows ? SINGLES : rows, 1, single[k]);
        }
    printf("%ld rows in one transaction, %ld repetitions, SQLite %s\n", rows, reps,
           sqlite3_libversion());
    print(many, rows, 0);
    print(single, SINGLES < rows ? SINGLES : rows, 1);
    remove_path("capture");
    free(people[0]);
    free(people[1]);
    return 0;
}
