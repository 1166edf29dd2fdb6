/* bench_json.c - batch JSON against cJSON doing the same job, in the same run. */
#include <cjson/cJSON.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "csync.h"

enum { CHANGES = 1000, ROUNDS = 60 };

static double cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void must(int is_true, const char *what)
{
    if (is_true)
        return;
    fprintf(stderr, "bench_json: %s\n", what);
    exit(1);
}

/* A table of people: a UUID, a name, an age, an e-mail address, an amount. About 300 bytes a change. */
static csync_batch *make_batch(void)
{
    static const char *const names[] = {"Alice", "Bob Smith", "Zo\xC3\xAB", "Christopher", "Dana Li"};
    csync_batch_info info = {.struct_size = sizeof info,
                             .to_version = CHANGES,
                             .has_more = 1,
                             .origin = "550e8400-e29b-41d4-a716-446655440000"};
    csync_batch *batch;

    must(csync_batch_new(&batch, NULL) == CSYNC_OK, "no batch");
    for (int i = 0; i < CHANGES; i++) {
        char pk[64], payload[256], when[32];
        csync_change c = {.struct_size = sizeof c,
                          .version = i + 1,
                          .table = "Person",
                          .pk = pk,
                          .payload = payload,
                          .origin = info.origin,
                          .timestamp = when,
                          .operation = i % 3 ? CSYNC_INSERT : CSYNC_UPDATE,
                          .seq = i + 1};

        snprintf(pk, sizeof pk, "{\"Id\":\"p-%08d\"}", i);
        snprintf(payload, sizeof payload,
                 "{\"Id\":\"p-%08d\",\"Name\":\"%s\",\"Age\":%d,\"Email\":\"user%d@example.com\","
                 "\"Amount\":%d.%02d}",
                 i, names[i % 5], 20 + i % 60, i * 37, i % 1000, i % 90 + 10);
        snprintf(when, sizeof when, "2025-01-%02dT%02d:%02d:%02d.%03dZ", i / 40 % 28 + 1, i % 24,
                 i % 60, i * 7 % 60, i);
        must(csync_batch_add(batch, &c, NULL) == CSYNC_OK, "a change was refused");
    }
    must(csync_batch_set_info(batch, &info, NULL) == CSYNC_OK, "the info was refused");
    return batch;
}

static const char *const spelled[] = {"", "Insert", "Update", "Delete"};

static char *cjson_write(const csync_batch *batch)
{
    cJSON *root = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(root, "changes");
    char *text;

    for (size_t i = 0; i < csync_batch_count(batch); i++) {
        const csync_change *c = csync_batch_at(batch, i);
        cJSON *o = cJSON_CreateObject();

        cJSON_AddNumberToObject(o, "version", (double)c->version);
        cJSON_AddStringToObject(o, "tableName", c->table);
        cJSON_AddStringToObject(o, "pkValue", c->pk);
        cJSON_AddStringToObject(o, "operation", spelled[c->operation]);
        if (c->payload)
            cJSON_AddStringToObject(o, "payload", c->payload);
        else
            cJSON_AddNullToObject(o, "payload");
        cJSON_AddStringToObject(o, "origin", c->origin);
        cJSON_AddStringToObject(o, "timestamp", c->timestamp);
        cJSON_AddNumberToObject(o, "seq", (double)c->seq);
        cJSON_AddItemToArray(list, o);
    }
    cJSON_AddNumberToObject(root, "fromVersion", 0);
    cJSON_AddNumberToObject(root, "toVersion", CHANGES);
    cJSON_AddBoolToObject(root, "hasMore", 1);
    cJSON_AddStringToObject(root, "origin", "550e8400-e29b-41d4-a716-446655440000");
    text = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    return text;
}

static void inner_parse(const cJSON *change, const char *field)
{
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(change, field);
    cJSON *inner = text && text->valuestring ? cJSON_Parse(text->valuestring) : NULL;

    must(inner != NULL, "cJSON refused a row");
    cJSON_Delete(inner);
}

static void cjson_read(const char *text, size_t len, int with_rows)
{
    cJSON *root = cJSON_ParseWithLength(text, len), *change;

    must(root != NULL, "cJSON refused the batch");
    if (with_rows)
        cJSON_ArrayForEach(change, cJSON_GetObjectItemCaseSensitive(root, "changes"))
        {
            inner_parse(change, "pkValue");
            inner_parse(change, "payload");
        }
    cJSON_Delete(root);
}

typedef struct job {
    csync_batch *batch;
    char *text;
    size_t len;
} job;

static void own_write(const job *j)
{
    char *text;

    must(csync_batch_to_json(j->batch, &text, NULL, NULL) == CSYNC_OK, "write failed");
    csync_free(text);
}

static void own_read(const job *j)
{
    csync_batch *batch;

    must(csync_batch_from_json(&batch, j->text, j->len, NULL) == CSYNC_OK, "read failed");
    csync_batch_free(batch);
}

static void other_write(const job *j)
{
    free(cjson_write(j->batch));
}

static void other_read(const job *j)
{
    cjson_read(j->text, j->len, 0);
}

static void other_read_rows(const job *j)
{
    cjson_read(j->text, j->len, 1);
}

enum { KINDS = 5 };

/* The least CPU time of each, taken in turn so that all see the same weather. */
static void measure(const job *j, void (*const run[KINDS])(const job *), double best[KINDS])
{
    for (int i = 0; i < KINDS; i++)
        best[i] = 1e12;
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < KINDS; i++) {
            double from = cpu_us(), took;

            run[i](j);
            took = cpu_us() - from;
            best[i] = took < best[i] ? took : best[i];
        }
}

int main(void)
{
    void (*const run[KINDS])(const job *) = {own_write, own_read, other_write, other_read,
                                             other_read_rows};
    double best[KINDS];
    job j = {.batch = make_batch()};
    char *other;

    /* Memory once had stays with the process, for both sides: else page faults are what gets measured. */
    mallopt(M_TRIM_THRESHOLD, 1 << 28);
    mallopt(M_MMAP_THRESHOLD, 1 << 25);
    must(csync_batch_to_json(j.batch, &j.text, &j.len, NULL) == CSYNC_OK, "write failed");
    other = cjson_write(j.batch);
    must(strlen(other) == j.len && memcmp(other, j.text, j.len) == 0, "the documents differ");
    free(other);
    measure(&j, run, best);
    printf("%d changes, %zu bytes: write %.0f us, read %.0f us (cJSON %.0f, %.0f, with rows %.0f)\n",
           CHANGES, j.len, best[0], best[1], best[2], best[3], best[4]);
    printf("json write   %.1fx cJSON   (bar: >= 8)\n", best[2] / best[0]);
    printf("json read    %.1fx cJSON   (bar: >= 5)\n", best[3] / best[1]);
    printf("json read    %.1fx cJSON that parses the rows too, as csync does\n", best[4] / best[1]);
    csync_free(j.text);
    csync_batch_free(j.batch);
    return 0;
}
