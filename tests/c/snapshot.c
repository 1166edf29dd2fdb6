/* snapshot.c - a replica's whole database as text. */
#include "snapshot.h"

#include <stdlib.h>

#include "support.h"

typedef struct text_out {
    FILE *file;
    int kind;
} text_out;

/* What is another in each run: times, and what is made of random numbers. */
static const char *const time_columns[] = {"ts",
                                           "base_ts",
                                           "ticked",
                                           "at",
                                           "since",
                                           "last_seen",
                                           "clock",
                                           "timestamp",
                                           "loser_timestamp",
                                           "winner_timestamp",
                                           "last_sync_timestamp",
                                           "created_at",
                                           "epoch",
                                           "pulled_epoch",
                                           "pushed_epoch",
                                           "idempotency_key",
                                           "reply"};

static int is_time(const char *column)
{
    for (size_t i = 0; i < sizeof time_columns / sizeof *time_columns; i++)
        if (strcmp(column, time_columns[i]) == 0)
            return 1;
    return 0;
}

static void put_value(FILE *out, const csync_value *v)
{
    switch (v->type) {
    case CSYNC_NULL:
        fputs("NULL", out);
        break;
    case CSYNC_INTEGER:
        fprintf(out, "%lld", (long long)v->integer);
        break;
    case CSYNC_REAL:
        fprintf(out, "%.17g", v->real);
        break;
    default:
        fprintf(out, "%c'", v->type == CSYNC_TEXT ? 't' : 'b');
        fwrite(v->data, 1, v->length, out);
        fputc('\'', out);
    }
}

static int put_row(void *user_data, int columns, const char *const *names, const csync_value *values)
{
    text_out *out = user_data;

    for (int i = 0; i < columns; i++) {
        fprintf(out->file, " %s=", names[i]);
        if (out->kind == SNAPSHOT_TIMELESS && is_time(names[i]))
            fputs("?", out->file);
        else
            put_value(out->file, &values[i]);
    }
    fputc('\n', out->file);
    return CSYNC_OK;
}

static int keep_name(void *user_data, int columns, const char *const *names, const csync_value *values)
{
    char(*list)[64] = user_data;

    (void)columns;
    (void)names;
    while ((*list)[0])
        list++;
    snprintf(*list, sizeof *list, "%.*s", (int)values->length, (const char *)values->data);
    return CSYNC_OK;
}

char *snapshot(csync *c, int kind)
{
    char tables[64][64] = {{0}}, sql[128], *made = NULL;
    size_t size;
    text_out out = {open_memstream(&made, &size), kind};

    OK(csync_execute(c, "SELECT type,name,sql FROM sqlite_master ORDER BY name", NULL, 0, put_row,
                     &out, NULL, err));
    OK(csync_execute(c, "SELECT name FROM sqlite_master WHERE type='table' ORDER BY name", NULL, 0,
                     keep_name, tables, NULL, err));
    for (int i = 0; tables[i][0]; i++) {
        fprintf(out.file, "%s:\n", tables[i]);
        snprintf(sql, sizeof sql, "SELECT * FROM \"%.63s\"", tables[i]);
        OK(csync_execute(c, sql, NULL, 0, put_row, &out, NULL, err));
    }
    fclose(out.file);
    return made;
}

/* The line that `at` is in. */
static const char *line(const char *text, size_t at, char out[200])
{
    while (at && text[at - 1] != '\n')
        at--;
    snprintf(out, 200, "%.*s", (int)strcspn(text + at, "\n"), text + at);
    return out;
}

void assert_unchanged(csync *c, char *before)
{
    char *after = snapshot(c, SNAPSHOT_EXACT), was[200], is[200];
    size_t at = 0;

    while (before[at] && before[at] == after[at])
        at++;
    if (before[at] != after[at])
        fail_msg("the database has changed\n  from %s\n  to   %s", line(before, at, was),
                 line(after, at, is));
    free(after);
    free(before);
}
