/* support.c - what the tests of replicas share. */
#include "support.h"

#include <stdlib.h>
#include <time.h>

static char last_text[4096];

static int keep_first(void *user_data, int columns, const char *const *names,
                      const csync_value *values)
{
    int *rows = user_data;

    (void)columns;
    (void)names;
    if ((*rows)++)
        return CSYNC_OK;
    switch (values->type) {
    case CSYNC_INTEGER:
        snprintf(last_text, sizeof last_text, "%lld", (long long)values->integer);
        break;
    case CSYNC_REAL:
        snprintf(last_text, sizeof last_text, "%.17g", values->real);
        break;
    case CSYNC_NULL:
        last_text[0] = 0;
        break;
    default:
        snprintf(last_text, sizeof last_text, "%.*s", (int)values->length,
                 (const char *)values->data);
    }
    return CSYNC_OK;
}

const char *text(csync *c, const char *sql)
{
    int rows = 0;

    OK(csync_execute(c, sql, NULL, 0, keep_first, &rows, NULL, err));
    return rows ? last_text : "-";
}

int64_t number(csync *c, const char *sql)
{
    return strtoll(text(c, sql), NULL, 10);
}

void run(csync *c, const char *sql)
{
    const char *end;

    while ((end = strstr(sql, ";\n")) != NULL) {
        char one[2048];

        snprintf(one, sizeof one, "%.*s", (int)(end - sql), sql);
        OK(csync_execute(c, one, NULL, 0, NULL, NULL, NULL, err));
        sql = end + 2;
    }
    if (*sql)
        OK(csync_execute(c, sql, NULL, 0, NULL, NULL, NULL, err));
}

static int track_row(void *user_data, int columns, const char *const *names, const csync_value *values)
{
    char(*list)[64] = user_data;

    (void)columns;
    (void)names;
    while ((*list)[0])
        list++;
    snprintf(*list, sizeof *list, "%.*s", (int)values->length, (const char *)values->data);
    return CSYNC_OK;
}

csync *replica_new(const char *schema)
{
    char tables[16][64] = {{0}};
    csync *c = NULL;

    OK(csync_open(&c, ":memory:", NULL, err));
    run(c, schema);
    OK(csync_execute(c,
                     "SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE '\\_sync%' "
                     "ESCAPE '\\' AND name NOT LIKE 'sqlite%'",
                     NULL, 0, track_row, tables, NULL, err));
    for (int i = 0; i < 16 && tables[i][0]; i++)
        OK(csync_track(c, tables[i], NULL, err));
    return c;
}

csync_result sync_all(csync *c, csync *peer)
{
    csync_result result = {.struct_size = sizeof result};

    OK(csync_sync(c, peer, NULL, &result, err));
    return result;
}

void assert_equal(csync *a, csync *b)
{
    char x[CSYNC_HASH_SIZE], y[CSYNC_HASH_SIZE];

    OK(csync_hash(a, x, err));
    OK(csync_hash(b, y, err));
    assert_string_equal(x, y);
}

void pause_ms(int ms)
{
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

    nanosleep(&t, NULL);
}
