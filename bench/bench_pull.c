/* links: sqlite3 */
/* bench_pull.c - a pull into an empty replica, in the time of plain prepared INSERTs of the same values in
 * transactions of as many rows. What arrives is wire JSON: it is decoded, checked, hashed and applied. */
#define SQLITE_ENABLE_SESSION
#define SQLITE_ENABLE_PREUPDATE_HOOK
#include "bench.h"

enum { ROWS = 200000, PAGE = 1000 };
enum kind { PLAIN, PLAIN_TRIGGER, PULL, PULL_TRIGGER, PULL_RELAY, CHANGESET, SYNC, SERVE, KINDS };
enum { TRIGGER = 1, RELAY = 2 };

#define USERS_TRIGGER "CREATE TRIGGER users AFTER INSERT ON Person BEGIN SELECT 1; END"

typedef struct bytes {
    char *data;
    size_t length;
} bytes;

typedef struct job {
    long rows, pages, next;
    person *people;
    csync *source;
    bytes *json; /* the pages of the source's log */
    bytes *changesets; /* of the same rows, as many in each */
} job;

/* ---- making the work -------------------------------------------------------------------------------- */

static void insert_people(sqlite3 *db, const person *people, long from, long to)
{
    sqlite3_stmt *stmt = prepare(db, PERSON_INSERT);

    for (long i = from; i < to; i += PAGE) {
        sql(db, "BEGIN");
        for (long k = i; k < i + PAGE && k < to; k++) {
            bind_person(stmt, k + 1, &people[k]);
            step(stmt);
        }
        sql(db, "COMMIT");
    }
    sqlite3_finalize(stmt);
}

static csync *make_replica(const char *path, int options)
{
    sqlite3 *db = open_db(path);
    csync_fetch fetch = {.struct_size = sizeof fetch};
    csync_batch *page = NULL;
    csync *replica;

    sql(db, PERSON_SQL);
    if (options & TRIGGER)
        sql(db, USERS_TRIGGER);
    sqlite3_close(db);
    OK(csync_open(&replica, path, NULL, err));
    OK(csync_execute(replica, "PRAGMA synchronous=NORMAL", NULL, 0, NULL, NULL, NULL, err));
    OK(csync_track(replica, "Person", NULL, err));
    if (options & RELAY) /* who was asked once logs what it applies */
        OK(csync_changes(replica, &fetch, &page, err));
    csync_batch_free(page);
    return replica;
}

static void make_source(job *j)
{
    const char *path = fresh_path("source");
    csync_fetch fetch = {.struct_size = sizeof fetch, .limit = PAGE};
    sqlite3 *db;

    j->source = make_replica(path, 0);
    db = open_db(path);
    insert_people(db, j->people, 0, j->rows);
    sqlite3_close(db);
    for (long i = 0; i < j->pages; i++) {
        csync_batch_info info = {.struct_size = sizeof info};
        csync_batch *page;

        OK(csync_changes(j->source, &fetch, &page, err));
        OK(csync_batch_to_json(page, &j->json[i].data, &j->json[i].length, err));
        OK(csync_batch_get_info(page, &info));
        fetch.since = info.to_version;
        csync_batch_free(page);
    }
    must(fetch.since == j->rows, "source", "its log is not as long as the table");
}

static void make_changesets(job *j)
{
    sqlite3 *db = open_db(":memory:");

    sql(db, PERSON_SQL);
    for (long i = 0; i < j->pages; i++) {
        sqlite3_session *session;
        int length = 0;
        void *data = NULL;

        must(sqlite3session_create(db, "main", &session) == SQLITE_OK &&
                 sqlite3session_attach(session, NULL) == SQLITE_OK,
             "changeset", "no session");
        insert_people(db, j->people, i * PAGE, (i + 1) * PAGE < j->rows ? (i + 1) * PAGE : j->rows);
        must(sqlite3session_changeset(session, &length, &data) == SQLITE_OK, "changeset", "failed");
        j->changesets[i].data = data;
        j->changesets[i].length = (size_t)length;
        sqlite3session_delete(session);
    }
    sqlite3_close(db);
}

/* ---- the contestants -------------------------------------------------------------------------------- */

static int fetch_json(void *user_data, const csync_fetch *fetch, csync_batch **out, csync_error *err)
{
    job *j = user_data;
    const bytes *page = &j->json[j->next++];

    (void)fetch;
    return csync_batch_from_json(out, page->data, page->length, err);
}

static double pull(job *j, int options)
{
    csync *replica = make_replica(fresh_path("target"), options);
    csync_remote remote = {.struct_size = sizeof remote, .user_data = j, .fetch = fetch_json};
    csync_sync_options o = {.struct_size = sizeof o, .direction = CSYNC_PULL};
    csync_result result = {.struct_size = sizeof result};
    double from;

    j->next = 0;
    from = cpu_us();
    OK(csync_sync_remote(replica, &remote, &o, &result, err));
    from = cpu_us() - from;
    must(result.pulled == j->rows, "pull", "not every row arrived");
    csync_close(replica);
    return from;
}

static double sync_both(job *j)
{
    csync *replica = make_replica(fresh_path("target"), 0);
    csync_sync_options o = {.struct_size = sizeof o, .direction = CSYNC_PULL};
    csync_result result = {.struct_size = sizeof result};
    double from = cpu_us();

    OK(csync_sync(replica, j->source, &o, &result, err));
    from = cpu_us() - from;
    must(result.pulled == j->rows, "sync", "not every row arrived");
    csync_close(replica);
    return from;
}

static double serve(job *j)
{
    csync_fetch fetch = {.struct_size = sizeof fetch, .limit = PAGE};
    double from = cpu_us();

    for (long i = 0; i < j->pages; i++) {
        csync_batch_info info = {.struct_size = sizeof info};
        csync_batch *page;

        OK(csync_changes(j->source, &fetch, &page, err));
        OK(csync_batch_get_info(page, &info));
        fetch.since = info.to_version;
        csync_batch_free(page);
    }
    return cpu_us() - from;
}

static double plain(job *j, int options)
{
    sqlite3 *db = open_db(fresh_path("target"));
    double from;

    sql(db, PERSON_SQL);
    if (options & TRIGGER)
        sql(db, USERS_TRIGGER);
    from = cpu_us();
    insert_people(db, j->people, 0, j->rows);
    from = cpu_us() - from;
    sqlite3_close(db);
    return from;
}

static int no_conflict(void *user_data, int kind, sqlite3_changeset_iter *iter)
{
    (void)user_data;
    (void)kind;
    (void)iter;
    return SQLITE_CHANGESET_ABORT;
}

static double apply_changesets(job *j)
{
    sqlite3 *db = open_db(fresh_path("target"));
    double from;

    sql(db, PERSON_SQL);
    from = cpu_us();
    for (long i = 0; i < j->pages; i++)
        must(sqlite3changeset_apply(db, (int)j->changesets[i].length, j->changesets[i].data, NULL,
                                    no_conflict, NULL) == SQLITE_OK,
             "changeset", sqlite3_errmsg(db));
    from = cpu_us() - from;
    sqlite3_close(db);
    return from;
}

static double run(job *j, enum kind kind)
{
    switch (kind) {
    case PLAIN:
    case PLAIN_TRIGGER:
        return plain(j, kind == PLAIN_TRIGGER ? TRIGGER : 0);
    case PULL:
        return pull(j, 0);
    case PULL_TRIGGER:
        return pull(j, TRIGGER);
    case PULL_RELAY:
        return pull(j, RELAY);
    case CHANGESET:
        return apply_changesets(j);
    case SYNC:
        return sync_both(j);
    default:
        return serve(j);
    }
}

static void print(const double best[KINDS], long rows)
{
    static const char *const names[KINDS] = {
        [PULL] = "pull of wire JSON",      [PULL_TRIGGER] = "  beside the user's trigger",
        [PULL_RELAY] = "  and logging it", [CHANGESET] = "sqlite3changeset_apply",
        [SYNC] = "sync, both sides",       [SERVE] = "serving the pages"};
    static const char *const bars[KINDS] = {
        [PULL] = "   (bar: at most 2.3)", [PULL_TRIGGER] = "   (bar: at most 3.8)"};

    printf("plain inserts %.3f us/row, beside the user's trigger %.3f\n",
           best[PLAIN] / (double)rows, best[PLAIN_TRIGGER] / (double)rows);
    for (int k = PULL; k < KINDS; k++)
        printf("%-28s %5.2fx plain inserts  %6.3f us/row%s\n", names[k], best[k] / best[PLAIN],
               best[k] / (double)rows, bars[k] ? bars[k] : "");
    printf("pull of wire JSON            %5.2fx sqlite3changeset_apply   (bar: below 1)\n",
           best[PULL] / best[CHANGESET]);
    printf("  beside the user's trigger  %5.2fx plain inserts beside it\n",
           best[PULL_TRIGGER] / best[PLAIN_TRIGGER]);
}

/* BENCH_KINDS: the contestants to run, as digits; for a profile. */
static int is_wanted(int kind)
{
    const char *wanted = getenv("BENCH_KINDS");

    return !wanted || strchr(wanted, '0' + kind) != NULL;
}

int main(void)
{
    long reps = setting("BENCH_REPS", 5);
    job j = {.rows = ROWS / setting("BENCH_N", 1)};
    double best[KINDS] = {0};

    keep_memory();
    j.people = make_people(j.rows, 1);
    j.pages = (j.rows + PAGE - 1) / PAGE;
    j.json = calloc((size_t)j.pages, sizeof *j.json);
    j.changesets = calloc((size_t)j.pages, sizeof *j.changesets);
    must(j.json && j.changesets, "pull", "out of memory");
    make_source(&j);
    make_changesets(&j);
    for (long rep = 0; rep < reps; rep++)
        for (int k = 0; k < KINDS; k++)
            if (is_wanted(k))
                least(&best[k], run(&j, (enum kind)k));
    printf("%ld rows, pages of %d, %ld repetitions, SQLite %s\n", j.rows, PAGE, reps,
           sqlite3_libversion());
    print(best, j.rows);
    csync_close(j.source);
    for (long i = 0; i < j.pages; i++) {
        csync_free(j.json[i].data);
        sqlite3_free(j.changesets[i].data);
    }
    free(j.json);
    free(j.changesets);
    free(j.people);
    fresh_path("source");
    remove_path("target");
    return 0;
}
