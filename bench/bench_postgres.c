/* links: sqlite3 pq */
/* bench_postgres.c - what csync costs on PostgreSQL: applying batches over COPY of the same rows and log entries, serving
 * pages over COPY of the log to the client, and tracked writes over untracked ones.
 *
 * CSYNC_POSTGRES names a server that the program may create databases on (script/with_postgres starts one). Bulk work
 * is CPU time of this process and of the server's process for the connection; a write that waits for the disk is the
 * median of wall times, in turns. */
#include <libpq-fe.h>

#include "bench.h"

enum { ROWS = 20000, PAGE = 1000, BULK = 100000, SINGLES = 1500 };

#define ITEM_SQL                                                                                              \
    "CREATE TABLE item(id bigint PRIMARY KEY, name text, email text, age int, score float8, active boolean, " \
    "seen timestamptz)"
/* As csync's log, but for its name. */
#define LOG_SQL                                                                                       \
    "CREATE TABLE log(version bigserial PRIMARY KEY, table_name text NOT NULL, pk_value text "        \
    "COLLATE \"C\" NOT NULL, operation text NOT NULL, payload text, origin text, timestamp text NOT " \
    "NULL, seq bigint, ts bigint NOT NULL); CREATE INDEX ON log(pk_value, table_name, version) WHERE origin IS NULL"
#define ORIGIN "7d3f9b1e-0000-4000-8000-000000000001"
#define SEEN "2026-05-06T07:08:09.123Z"

typedef struct text {
    char *data;
    size_t length;
} text;

typedef struct job {
    long rows, pages, next;
    text *json; /* the batches on the wire */
    text *data, *log; /* the same as COPY takes it */
} job;

/* ---- the server --------------------------------------------------------------------------------------- */

static const char *server_url(void)
{
    const char *url = getenv("CSYNC_POSTGRES");

    must(url != NULL, "CSYNC_POSTGRES", "names no server");
    return url;
}

static PGconn *connect_to(const char *url)
{
    PGconn *conn = PQconnectdb(url);

    must(PQstatus(conn) == CONNECTION_OK, "connect", PQerrorMessage(conn));
    return conn;
}

static void run(PGconn *conn, const char *statement)
{
    PGresult *r = PQexec(conn, statement);
    ExecStatusType status = PQresultStatus(r);

    must(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK, statement, PQerrorMessage(conn));
    PQclear(r);
}

static long query(PGconn *conn, const char *statement)
{
    PGresult *r = PQexec(conn, statement);
    long n;

    must(PQresultStatus(r) == PGRES_TUPLES_OK, statement, PQerrorMessage(conn));
    n = atol(PQgetvalue(r, 0, 0));
    PQclear(r);
    return n;
}

/* A database of its own for each measurement; its URL. */
static const char *fresh_database(const char *schema)
{
    static char url[512];
    static int number;
    PGconn *admin = connect_to(server_url()), *conn;
    char statement[64];

    if (number)
        snprintf(statement, sizeof statement, "DROP DATABASE bench%d", number);
    if (number)
        run(admin, statement);
    snprintf(statement, sizeof statement, "CREATE DATABASE bench%d", ++number);
    run(admin, statement);
    PQfinish(admin);
    snprintf(url, sizeof url, "%s&dbname=bench%d", server_url(), number);
    conn = connect_to(url);
    run(conn, schema);
    PQfinish(conn);
    return url;
}

/* CPU time of a process on this machine. */
static double cpu_of(long pid)
{
    char path[64];
    unsigned long long ns = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%ld/schedstat", pid);
    f = fopen(path, "r");
    must(f && fscanf(f, "%llu", &ns) == 1, path, "the server has to run on this machine");
    fclose(f);
    return (double)ns / 1e3;
}

static double wall_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int keep_pid(void *user_data, int columns, const char *const *names, const csync_value *values)
{
    (void)columns;
    (void)names;
    *(long *)user_data = (long)values[0].integer;
    return CSYNC_OK;
}

static double cpu_of_both(csync *replica, long *pid)
{
    if (!*pid)
        OK(csync_execute(replica, "SELECT pg_backend_pid()", NULL, 0, keep_pid, pid, NULL, err));
    return cpu_us() + cpu_of(*pid);
}

/* ---- making the work ---------------------------------------------------------------------------------- */

static void append(text *t, size_t *cap, const char *bytes, size_t n)
{
    if (t->length + n > *cap) {
        *cap = 2 * (t->length + n);
        t->data = realloc(t->data, *cap);
        must(t->data != NULL, "rows", "out of memory");
    }
    memcpy(t->data + t->length, bytes, n);
    t->length += n;
}

static void make_page(job *j, const person *people, long page)
{
    csync_batch_info info = {.struct_size = sizeof info, .origin = ORIGIN};
    size_t data_cap = 0, log_cap = 0;
    char payload[512], pk[64], line[1024];
    csync_batch *batch;

    OK(csync_batch_new(&batch, err));
    for (long id = page * PAGE + 1; id <= (page + 1) * PAGE && id <= j->rows; id++) {
        const person *p = &people[id - 1];
        csync_change c = {.struct_size = sizeof c, .operation = CSYNC_UPDATE, .table = "item"};

        snprintf(pk, sizeof pk, "{\"id\":%ld}", id);
        snprintf(payload, sizeof payload,
                 "{\"id\":%ld,\"name\":\"%s\",\"email\":\"%s\",\"age\":%d,\"score\":%.17g,\"active\":%s,"
                 "\"seen\":\"" SEEN "\"}",
                 id, p->name, p->email, p->age, p->score, id % 2 ? "true" : "false");
        c.version = c.seq = id;
        c.pk = pk;
        c.payload = payload;
        c.origin = ORIGIN;
        c.timestamp = SEEN;
        OK(csync_batch_add(batch, &c, err));
        append(&j->data[page], &data_cap, line,
               (size_t)snprintf(line, sizeof line, "%ld\t%s\t%s\t%d\t%.17g\t%s\t" SEEN "\n", id,
                                p->name, p->email, p->age, p->score, id % 2 ? "t" : "f"));
        append(&j->log[page], &log_cap, line,
               (size_t)snprintf(line, sizeof line,
                                "%ld\titem\t%s\tupdate\t%s\t" ORIGIN "\t" SEEN
                                "\t%ld\t1778051289123\n",
                                id, pk, payload, id));
    }
    info.from_version = page * PAGE;
    info.to_version = (page + 1) * PAGE < j->rows ? (page + 1) * PAGE : j->rows;
    info.has_more = page + 1 < j->pages;
    OK(csync_batch_set_info(batch, &info, err));
    OK(csync_batch_to_json(batch, &j->json[page].data, &j->json[page].length, err));
    csync_batch_free(batch);
}

static void make_job(job *j)
{
    person *people = make_people(j->rows, 1);

    j->pages = (j->rows + PAGE - 1) / PAGE;
    j->json = calloc((size_t)j->pages, sizeof *j->json);
    j->data = calloc((size_t)j->pages, sizeof *j->data);
    j->log = calloc((size_t)j->pages, sizeof *j->log);
    must(j->json && j->data && j->log, "rows", "out of memory");
    for (long i = 0; i < j->pages; i++)
        make_page(j, people, i);
    free(people);
}

/* ---- apply ---------------------------------------------------------------------------------------------- */

static void copy_in(PGconn *conn, const char *statement, const text *rows)
{
    PGresult *r = PQexec(conn, statement);

    must(PQresultStatus(r) == PGRES_COPY_IN, statement, PQerrorMessage(conn));
    PQclear(r);
    must(PQputCopyData(conn, rows->data, (int)rows->length) == 1 && PQputCopyEnd(conn, NULL) == 1,
         statement, PQerrorMessage(conn));
    while ((r = PQgetResult(conn))) {
        must(PQresultStatus(r) == PGRES_COMMAND_OK, statement, PQerrorMessage(conn));
        PQclear(r);
    }
}

static double copy(const job *j, int log)
{
    PGconn *conn = connect_to(fresh_database(ITEM_SQL ";" LOG_SQL));
    long pid = PQbackendPID(conn);
    double from = cpu_us() + cpu_of(pid);

    for (long i = 0; i < j->pages; i++) {
        run(conn, "BEGIN");
        copy_in(conn, "COPY item FROM STDIN", &j->data[i]);
        if (log)
            copy_in(conn, "COPY log FROM STDIN", &j->log[i]);
        run(conn, "COMMIT");
    }
    from = cpu_us() + cpu_of(pid) - from;
    PQfinish(conn);
    return from;
}

static int fetch_json(void *user_data, const csync_fetch *fetch, csync_batch **out, csync_error *err)
{
    job *j = user_data;
    const text *page = &j->json[j->next++];

    (void)fetch;
    return csync_batch_from_json(out, page->data, page->length, err);
}

/* `url` gets the database's. */
static csync *open_replica(const char *schema, int relay, char url[512])
{
    csync_fetch fetch = {.struct_size = sizeof fetch};
    csync_batch *page = NULL;
    csync *replica;

    snprintf(url, 512, "%s", fresh_database(schema));
    OK(csync_open(&replica, url, NULL, err));
    OK(csync_track(replica, "item", NULL, err));
    if (relay) /* who was asked once logs what it applies */
        OK(csync_changes(replica, &fetch, &page, err));
    csync_batch_free(page);
    return replica;
}

/* Every second row is there already, as in the measurements that set the bar, and the peer has it: no conflict. */
static double apply(job *j, int relay)
{
    char schema[512], url[512];
    csync *replica;
    csync_remote remote = {.struct_size = sizeof remote, .user_data = j, .fetch = fetch_json};
    csync_sync_options o = {.struct_size = sizeof o, .direction = CSYNC_PULL};
    csync_result result = {.struct_size = sizeof result};
    long pid = 0;
    double from;

    snprintf(schema, sizeof schema,
             ITEM_SQL ";INSERT INTO item(id) SELECT generate_series(1,%ld,2)", j->rows);
    replica = open_replica(schema, relay, url);
    OK(csync_execute(replica, "UPDATE csync._sync_rows SET state=2", NULL, 0, NULL, NULL, NULL, err));
    from = cpu_of_both(replica, &pid);
    j->next = 0;
    OK(csync_sync_remote(replica, &remote, &o, &result, err));
    from = cpu_of_both(replica, &pid) - from;
    must(result.pulled == j->rows, "apply", "not every row arrived");
    csync_close(replica);
    return from;
}

/* The same rows pushed: as a server takes them from a client. */
static double take_push(const job *j)
{
    char url[512];
    csync *replica = open_replica(ITEM_SQL, 1, url);
    long pid = 0;
    double from = cpu_of_both(replica, &pid);

    for (long i = 0; i < j->pages; i++) {
        csync_result result = {.struct_size = sizeof result};
        csync_outcome *outcome;
        csync_batch *batch;

        OK(csync_batch_from_json(&batch, j->json[i].data, j->json[i].length, err));
        OK(csync_apply(replica, batch, NULL, &outcome, &result, err));
        must((size_t)result.pulled == csync_batch_count(batch), "push", "not every row was taken");
        csync_outcome_free(outcome);
        csync_batch_free(batch);
    }
    from = cpu_of_both(replica, &pid) - from;
    csync_close(replica);
    return from;
}

/* ---- fetch ---------------------------------------------------------------------------------------------- */

static void copy_out(PGconn *conn, const char *statement)
{
    PGresult *r = PQexec(conn, statement);
    char *row;

    must(PQresultStatus(r) == PGRES_COPY_OUT, statement, PQerrorMessage(conn));
    PQclear(r);
    while (PQgetCopyData(conn, &row, 0) > 0)
        PQfreemem(row);
    while ((r = PQgetResult(conn)))
        PQclear(r);
}

/* Pages of the log with their rows, over the same columns of it by COPY. */
static void serve(const job *j, double *pages, double *plain)
{
    char insert[256], url[512];
    csync *replica = open_replica(ITEM_SQL, 1, url);
    csync_fetch fetch = {.struct_size = sizeof fetch, .limit = PAGE};
    PGconn *conn = connect_to(url);
    long pid = 0, count = 0;
    double from;

    snprintf(insert, sizeof insert,
             "INSERT INTO item SELECT n,'name '||n,'user'||n||'@example.com',n%%90,n*0.37,n%%2=0,'" SEEN
             "' FROM generate_series(1,%ld) n",
             j->rows);
    run(conn, insert);
    from = cpu_us() + cpu_of(PQbackendPID(conn));
    copy_out(conn,
             "COPY (SELECT version,table_name,pk_value,operation,payload,origin,timestamp,seq FROM "
             "csync._sync_log ORDER BY version) TO STDOUT");
    least(plain, cpu_us() + cpu_of(PQbackendPID(conn)) - from);
    for (int warm = 0; warm < 2; warm++) { /* the first time folds the log */
        from = cpu_of_both(replica, &pid);
        fetch.since = count = 0;
        for (int more = 1; more;) {
            csync_batch_info info = {.struct_size = sizeof info};
            csync_batch *page;

            OK(csync_changes(replica, &fetch, &page, err));
            OK(csync_batch_get_info(page, &info));
            count += (long)csync_batch_count(page);
            fetch.since = info.to_version;
            more = info.has_more;
            csync_batch_free(page);
        }
        from = cpu_of_both(replica, &pid) - from;
        must(count == j->rows, "serve", "not every row came");
    }
    least(pages, from);
    PQfinish(conn);
    csync_close(replica);
}

/* ---- capture -------------------------------------------------------------------------------------------- */

static void bulk_insert(int tracked, long rows, double *best)
{
    char insert[256], url[512];
    PGconn *conn;
    double from;

    if (tracked)
        csync_close(open_replica(ITEM_SQL, 0, url));
    else
        snprintf(url, sizeof url, "%s", fresh_database(ITEM_SQL));
    conn = connect_to(url);
    snprintf(insert, sizeof insert,
             "INSERT INTO item SELECT n,'name '||n,'user'||n||'@example.com',n%%90,n*0.37,n%%2=0,'" SEEN
             "' FROM generate_series(1,%ld) n",
             rows);
    from = cpu_of(PQbackendPID(conn));
    run(conn, insert);
    least(best, cpu_of(PQbackendPID(conn)) - from);
    PQfinish(conn);
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

/* One row and its commit, on the disk; a tracked and an untracked table of one database in turns. */
static void single_inserts(double median[2])
{
    static const char *const tables[2] = {"plain", "item"};
    static double took[2][SINGLES];
    char url[512], statement[160];
    PGconn *conn;

    csync_close(open_replica(ITEM_SQL ";CREATE TABLE plain(LIKE item INCLUDING ALL)", 0, url));
    conn = connect_to(url);
    run(conn, "SET synchronous_commit=on");
    must(query(conn, "SELECT count(*) FROM pg_settings WHERE name='fsync' AND setting='on'"),
         "server", "fsync is off");
    for (int t = 0; t < 2; t++) {
        snprintf(statement, sizeof statement,
                 "PREPARE put%d AS INSERT INTO %s VALUES($1,'name','user@example.com',30,1.5,true,'" SEEN
                 "')",
                 t, tables[t]);
        run(conn, statement);
    }
    for (int i = 0; i < SINGLES; i++)
        for (int t = 0; t < 2; t++) {
            snprintf(statement, sizeof statement, "EXECUTE put%d(%d)", t, i);
            took[t][i] = wall_us();
            run(conn, statement);
            took[t][i] = wall_us() - took[t][i];
        }
    for (int t = 0; t < 2; t++) {
        qsort(took[t], SINGLES, sizeof took[t][0], compare);
        median[t] = took[t][SINGLES / 2];
    }
    PQfinish(conn);
}

/* ---- all ------------------------------------------------------------------------------------------------ */

static void line(const char *what, double took, double over, const char *limit, double rows,
                 const char *bar)
{
    printf("%-30s %5.2fx %-26s %7.3f us/row%s\n", what, took / over, limit, took / rows, bar);
}

/* BENCH_KINDS: what to run: a(pply), p(ush), f(etch), b(ulk), s(ingle). */
static int is_wanted(char kind)
{
    const char *wanted = getenv("BENCH_KINDS");

    return !wanted || strchr(wanted, kind) != NULL;
}

int main(void)
{
    long reps = setting("BENCH_REPS", 3), bulk = BULK / setting("BENCH_N", 1);
    job j = {.rows = ROWS / setting("BENCH_N", 1)};
    double data = 0, both = 0, relayed = 0, unlogged = 0, pushed = 0, pages = 0, plain = 0;
    double many[2] = {0}, single[2] = {0};

    keep_memory();
    make_job(&j);
    for (long rep = 0; rep < reps; rep++) {
        least(&data, copy(&j, 0));
        least(&both, copy(&j, 1));
        if (is_wanted('a'))
            least(&relayed, apply(&j, 1));
        if (is_wanted('a'))
            least(&unlogged, apply(&j, 0));
        if (is_wanted('p'))
            least(&pushed, take_push(&j));
        if (is_wanted('f'))
            serve(&j, &pages, &plain);
        for (int t = 0; t < 2 && is_wanted('b'); t++)
            bulk_insert(t, bulk, &many[t]);
    }
    if (is_wanted('s'))
        single_inserts(single);
    printf("%ld rows, batches of %d, %ld repetitions, CPU of client and server\n", j.rows, PAGE,
           reps);
    line("COPY of data and log", both, data, "COPY of data", (double)j.rows, "");
    if (is_wanted('a'))
        line("apply, logging it", relayed, both, "COPY of data and log", (double)j.rows,
             "   (bar: at most 2.4)");
    if (is_wanted('a'))
        line("apply, not logging it", unlogged, data, "COPY of data", (double)j.rows, "");
    if (is_wanted('p'))
        line("taking pushes", pushed, both, "COPY of data and log", (double)j.rows, "");
    if (is_wanted('f'))
        line("serving pages", pages, plain, "COPY of the log to stdout", (double)j.rows,
             "   (bar: at most 1.25)");
    if (is_wanted('b'))
        line("bulk insert, tracked", many[1], many[0], "untracked", (double)bulk,
             "   (bar: at most 4.5)");
    if (is_wanted('s'))
        line("single insert, fsync, tracked", single[1], single[0], "untracked (median, wall)", 1,
             "   (bar: at most 1.25)");
    return 0;
}
