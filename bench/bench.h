/* bench.h - what the benchmark programs share: CPU time, the table of people, plain SQLite, printing.
 *
 * Times are CPU time of the process, the least of several repetitions in which all contestants take turns,
 * so that they see the same weather. Headers only: every .c file here is a program of its own. */
#ifndef BENCH_H
#define BENCH_H
#include <malloc.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "csync.h"

#define UNUSED __attribute__((unused))

static inline double cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Stops the program with `why` unless it is true. */
static inline void must(int is_true, const char *what, const char *why)
{
    if (is_true)
        return;
    fprintf(stderr, "bench: %s: %s\n", what, why);
    exit(1);
}

/* A csync call that must succeed; `err` is the csync_error in it. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        csync_error ok_err = CSYNC_ERROR_INIT;                                                     \
        UNUSED csync_error *err = &ok_err;                                                         \
        must((call) == CSYNC_OK, #call, ok_err.message);                                           \
    } while (0)

static inline void least(double *best, double took)
{
    if (*best == 0 || took < *best)
        *best = took;
}

/* `BENCH_N` divides the number of rows and `BENCH_REPS` sets the repetitions: for a quick look, or a profile. */
static inline long setting(const char *name, long otherwise)
{
    const char *text = getenv(name);

    return text && atol(text) > 0 ? atol(text) : otherwise;
}

/* Memory once had stays with the process, for all contestants: else page faults are what gets measured. */
static inline void keep_memory(void)
{
    mallopt(M_TRIM_THRESHOLD, 1 << 28);
    mallopt(M_MMAP_THRESHOLD, 1 << 25);
}

/* ---- plain SQLite, as an application uses it -------------------------------------------------------- */

static inline void sql(sqlite3 *db, const char *text)
{
    must(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK, text, sqlite3_errmsg(db));
}

static inline sqlite3_stmt *prepare(sqlite3 *db, const char *text)
{
    sqlite3_stmt *stmt;

    must(sqlite3_prepare_v2(db, text, -1, &stmt, NULL) == SQLITE_OK, text, sqlite3_errmsg(db));
    return stmt;
}

static inline void step(sqlite3_stmt *stmt)
{
    must(sqlite3_step(stmt) == SQLITE_DONE, sqlite3_sql(stmt),
         sqlite3_errmsg(sqlite3_db_handle(stmt)));
    sqlite3_reset(stmt);
}

static inline sqlite3 *open_db(const char *path)
{
    sqlite3 *db;

    must(sqlite3_open(path, &db) == SQLITE_OK, path, "cannot be opened");
    sql(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL");
    return db;
}

/* A name in a directory of this process's own, without a file there. */
static UNUSED const char *fresh_path(const char *name)
{
    static char dir[64], path[128];
    static const char *const rest[] = {"", "-wal", "-shm"};

    if (!dir[0]) {
        snprintf(dir, sizeof dir, "/tmp/csync-bench-XXXXXX");
        must(mkdtemp(dir) != NULL, dir, "cannot be made");
    }
    for (int i = 2; i >= 0; i--) {
        snprintf(path, sizeof path, "%s/%s.db%s", dir, name, rest[i]);
        unlink(path);
    }
    return path;
}

/* The directory goes too, once it is empty. */
static UNUSED void remove_path(const char *name)
{
    char path[128], *slash;

    snprintf(path, sizeof path, "%s", fresh_path(name));
    slash = strrchr(path, '/');
    *slash = 0;
    rmdir(path);
}

/* ---- people ----------------------------------------------------------------------------------------- */

#define PERSON_SQL                                                                                 \
    "CREATE TABLE Person(Id INTEGER PRIMARY KEY, Name TEXT, Email TEXT, Age INTEGER, Score REAL)"
#define PERSON_INSERT "INSERT INTO Person VALUES(?1,?2,?3,?4,?5)"

typedef struct person {
    char name[24], email[40];
    int name_len, email_len, age;
    double score;
} person;

/* `generation` makes another set of values. The score has 17 digits: the hardest case for its JSON. */
static UNUSED person *make_people(long n, unsigned generation)
{
    static const char *const names[] = {"Alice", "Bob Smith", "Zo\xC3\xAB", "Christopher", "Dana Li"};
    person *all = calloc((size_t)n, sizeof *all);
    uint64_t random = 88172645463325252u + generation;

    must(all != NULL, "people", "out of memory");
    for (long i = 0; i < n; i++) {
        person *p = &all[i];

        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        p->name_len =
            snprintf(p->name, sizeof p->name, "%s %u", names[random % 5], (unsigned)(random >> 48));
        p->email_len = snprintf(p->email, sizeof p->email, "user%ld.%u@example.com", i, generation);
        p->age = (int)((random >> 20) % 90);
        p->score = (double)(random >> 11) / 9007199254740992.0 * 100;
    }
    return all;
}

static inline void bind_person(sqlite3_stmt *stmt, long id, const person *p)
{
    sqlite3_bind_int64(stmt, 1, id);
    sqlite3_bind_text(stmt, 2, p->name, p->name_len, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 3, p->email, p->email_len, SQLITE_STATIC);
    sqlite3_bind_int(stmt, 4, p->age);
    sqlite3_bind_double(stmt, 5, p->score);
}
#endif
