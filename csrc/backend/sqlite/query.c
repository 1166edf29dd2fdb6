/* query.c - reading whole tables, and the application's own SQL. */
#include <string.h>
#include <strings.h>

#include "backend/sqlite/sqlite.h"
#include "base/mem.h"

int sq_scan(cs_backend *base, const cs_table *table, cs_row_visit visit, void *ctx, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_table_stmt(b, (cs_table *)table, SQT_ROW_SCAN, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    while ((rc = sq_step(b, stmt, err)) == 1) {
        for (size_t i = 0; i < table->count; i++)
            sq_column(b, stmt, (int)i, &b->cells[i]);
        rc = visit(ctx, b->cells, table->count, err);
        if (rc != CSYNC_OK)
            break;
    }
    sqlite3_reset(stmt);
    return rc;
}

static int bind_params(cs_sqlite *b, sqlite3_stmt *stmt, const csync_value *params, size_t count,
                       csync_error *err)
{
    SQ_API(b);
    size_t wanted = (size_t)sqlite3_bind_parameter_count(stmt);

    if (wanted != count)
        return cs_fail(err, CSYNC_EINVAL, "the statement has %zu parameters, %zu were given",
                       wanted, count);
    for (size_t i = 0; i < count; i++) {
        static const enum cs_type types[] = {CS_NULL, CS_INT, CS_REAL, CS_TEXT, CS_BLOB};
        const csync_value *p = &params[i];
        cs_value v = {CS_NULL, p->integer, p->real, NULL, 0};

        if (p->type < CSYNC_NULL || p->type > CSYNC_BLOB || (p->length && !p->data))
            return cs_fail(err, CSYNC_EINVAL, "parameter %zu has no valid type", i + 1);
        v.type = types[p->type];
        if (p->type >= CSYNC_TEXT) {
            v.text = p->data;
            v.len = p->length;
        }
        sq_bind(b, stmt, (int)i + 1, &v);
    }
    return CSYNC_OK; /* what could not be bound fails the first step */
}

/* What a row callback gets; one allocation for names and values. */
typedef struct row_out {
    int columns;
    const char **names;
    csync_value *values;
} row_out;

static int row_out_init(cs_sqlite *b, row_out *r, sqlite3_stmt *stmt, csync_error *err)
{
    SQ_API(b);

    r->columns = sqlite3_column_count(stmt);
    r->names = cs_calloc((size_t)r->columns + 1, sizeof *r->names);
    r->values = cs_calloc((size_t)r->columns + 1, sizeof *r->values);
    if (!r->names || !r->values)
        return cs_fail_nomem(err);
    for (int i = 0; i < r->columns; i++)
        r->names[i] = sqlite3_column_name(stmt, i);
    return CSYNC_OK;
}

static int give_row(cs_sqlite *b, row_out *r, sqlite3_stmt *stmt, csync_row_fn fn, void *user_data,
                    csync_error *err)
{
    for (int i = 0; i < r->columns; i++) {
        static const int types[] = {CSYNC_NULL, CSYNC_INTEGER, CSYNC_INTEGER, CSYNC_REAL,
                                    CSYNC_TEXT, CSYNC_TEXT,    CSYNC_BLOB,    CSYNC_TEXT};
        cs_value v;

        sq_column(b, stmt, i, &v);
        r->values[i] = (csync_value){types[v.type], v.integer, v.real, v.text, v.len};
    }
    if (fn(user_data, r->columns, r->names, r->values) != CSYNC_OK)
        return cs_fail(err, CSYNC_ECALLBACK, "the row callback stopped the statement");
    return CSYNC_OK;
}

static int run_rows(cs_sqlite *b, sqlite3_stmt *stmt, csync_row_fn fn, void *user_data,
                    csync_error *err)
{
    row_out r = {0, NULL, NULL};
    int rc = row_out_init(b, &r, stmt, err);

    while (rc == CSYNC_OK && (rc = sq_step(b, stmt, err)) == 1)
        rc = fn ? give_row(b, &r, stmt, fn, user_data, err) : CSYNC_OK;
    cs_free(r.names);
    cs_free(r.values);
    return rc;
}

static int prepare_one(cs_sqlite *b, const char *sql, sqlite3_stmt **stmt, csync_error *err)
{
    SQ_API(b);
    const char *tail = NULL;
    sqlite3_stmt *second = NULL;
    int rc = CSYNC_OK;

    if (sqlite3_prepare_v2(b->db, sql, -1, stmt, &tail) != SQLITE_OK)
        return sq_fail(b, err, "cannot run the statement");
    if (!*stmt)
        return cs_fail(err, CSYNC_EINVAL, "the statement is empty");
    if (tail && *tail) {
        int parsed = sqlite3_prepare_v2(b->db, tail, -1, &second, NULL);

        if (parsed != SQLITE_OK || second)
            rc = cs_fail(err, CSYNC_EINVAL,
                         "only one statement at a time; the second begins with: %.60s",
                         tail + strspn(tail, " \t\r\n;"));
        sqlite3_finalize(second);
    }
    return rc;
}

/* The first word of a statement, after blanks and comments. */
static const char *first_word(const char *sql)
{
    for (;;) {
        sql += strspn(sql, " \t\r\n\f;");
        if (strncmp(sql, "--", 2) == 0)
            sql += strcspn(sql, "\n");
        else if (strncmp(sql, "/*", 2) == 0 && strstr(sql + 2, "*/"))
            sql = strstr(sql + 2, "*/") + 2;
        else
            return sql;
    }
}

static int begins_with(const char *sql, const char *const *words, size_t count)
{
    const char *word = first_word(sql);

    for (size_t i = 0; i < count; i++)
        if (strncasecmp(word, words[i], strlen(words[i])) == 0)
            return 1;
    return 0;
}

/* Inside csync_suppress_begin the transaction is csync's: its end would commit the flag. */
static int check_transaction(const cs_sqlite *b, const char *sql, csync_error *err)
{
    static const char *const words[] = {"BEGIN", "COMMIT", "END", "ROLLBACK"};

    if (b->suppressed && begins_with(sql, words, sizeof words / sizeof *words))
        return cs_fail(err, CSYNC_EBUSY,
                       "a suppressed transaction is open; csync_suppress_end ends it");
    return CSYNC_OK;
}

/* A statement that changes rows and gives some back has made all its changes by the first row; when the
 * callback fails they must go again. */
static int run_undoable(cs_sqlite *b, sqlite3_stmt *stmt, csync_row_fn fn, void *user_data,
                        csync_error *err)
{
    SQ_API(b);
    static const char *const words[] = {"INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"};
    csync_error why = CSYNC_ERROR_INIT;
    int rc;

    if (!fn || sqlite3_stmt_readonly(stmt) || sqlite3_column_count(stmt) == 0 ||
        !begins_with(sqlite3_sql(stmt), words, sizeof words / sizeof *words))
        return run_rows(b, stmt, fn, user_data, err);
    rc = sq_exec(b, "SAVEPOINT csync_execute", err);
    if (rc != CSYNC_OK)
        return rc;
    rc = run_rows(b, stmt, fn, user_data, &why);
    sqlite3_reset(stmt);
    if (rc == CSYNC_OK)
        return sq_exec(b, "RELEASE csync_execute", err);
    cs_error_copy(err, &why);
    (void)sq_exec(b, "ROLLBACK TO csync_execute; RELEASE csync_execute", NULL);
    return rc;
}

/* What was written before the first suppressed write is looked at first: afterwards nobody can tell which rows the
 * suppressed writes took away. */
static int note_suppressed(cs_sqlite *b, sqlite3_stmt *stmt, csync_error *err)
{
    SQ_API(b);

    if (!b->suppressed || b->suppressed_writes || sqlite3_stmt_readonly(stmt))
        return CSYNC_OK;
    b->suppressed_writes = 1;
    return sq_fold(&b->base, err);
}

int sq_execute(cs_backend *base, const char *sql, const csync_value *params, size_t count,
               csync_row_fn fn, void *user_data, int64_t *changes, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt = NULL;
    int64_t before;
    int rc = check_transaction(b, sql, err);

    if (rc == CSYNC_OK && !b->suppressed)
        rc = sq_set_triggers(b, 1, err);
    if (rc == CSYNC_OK)
        rc = prepare_one(b, sql, &stmt, err);
    if (rc == CSYNC_OK)
        rc = bind_params(b, stmt, params, count, err);
    if (rc == CSYNC_OK)
        rc = note_suppressed(b, stmt, err);
    before = sqlite3_total_changes(b->db);
    if (rc == CSYNC_OK)
        rc = run_undoable(b, stmt, fn, user_data, err);
    if (changes && rc == CSYNC_OK)
        *changes = sqlite3_total_changes(b->db) == before ? 0 : sqlite3_changes(b->db);
    sqlite3_finalize(stmt);
    b->bind_failed = SQLITE_OK;
    return rc;
}
