/* crash_victim.c - does one thing with files that are there already, so that tests/python/test_kill_sweep.py can
 * kill it in the middle: crash_victim OPERATION REPLICA [PEER | TABLE | BATCH_FILE] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "csync.h"

#define BATCH_SIZE 8 /* small, so that one run has several transactions */

static csync_error why = CSYNC_ERROR_INIT;

static void must(int rc, const char *what)
{
    if (rc == CSYNC_OK)
        return;
    fprintf(stderr, "crash_victim: %s: %s\n", what, why.message);
    exit(1);
}

static csync *open_replica(const char *path)
{
    csync *c = NULL;

    must(csync_open(&c, path, NULL, &why), path);
    return c;
}

static void sync_files(const char *path, const char *peer_path, int direction)
{
    csync_sync_options o = {.struct_size = sizeof o, .direction = direction, .batch_size = BATCH_SIZE};
    csync *c = open_replica(path), *peer = open_replica(peer_path);

    must(csync_sync(c, peer, &o, NULL, &why), "sync");
    csync_close(peer);
    csync_close(c);
}

static char *read_file(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    char *text = malloc(1 << 20);

    if (!file || !text || (*length = fread(text, 1, 1 << 20, file)) == 0) {
        fprintf(stderr, "crash_victim: %s cannot be read\n", path);
        exit(1);
    }
    fclose(file);
    return text;
}

static void apply_file(const char *path, const char *batch_path)
{
    size_t length = 0;
    char *json = read_file(batch_path, &length);
    csync_batch *batch = NULL;
    csync *c = open_replica(path);

    must(csync_batch_from_json(&batch, json, length, &why), "batch");
    must(csync_apply(c, batch, NULL, NULL, NULL, &why), "apply");
    csync_batch_free(batch);
    csync_close(c);
    free(json);
}

static void track_table(const char *path, const char *table)
{
    csync *c = open_replica(path);

    must(csync_track(c, table, NULL, &why), "track");
    csync_close(c);
}

/* A reading call: local writes become heads, and a changed schema is repaired. */
static void read_hash(const char *path)
{
    char hex[CSYNC_HASH_SIZE];
    csync *c = open_replica(path);

    must(csync_hash(c, hex, &why), "hash");
    csync_close(c);
}

static void purge_log(const char *path)
{
    csync *c = open_replica(path);

    must(csync_purge(c, NULL, NULL, &why), "purge");
    csync_close(c);
}

int main(int argc, char **argv)
{
    const char *operation = argc > 2 ? argv[1] : "";
    const char *path = argc > 2 ? argv[2] : "", *other = argc > 3 ? argv[3] : "";

    if (strcmp(operation, "sync") == 0)
        sync_files(path, other, CSYNC_BOTH);
    else if (strcmp(operation, "pull") == 0)
        sync_files(path, other, CSYNC_PULL);
    else if (strcmp(operation, "push") == 0)
        sync_files(path, other, CSYNC_PUSH);
    else if (strcmp(operation, "apply") == 0)
        apply_file(path, other);
    else if (strcmp(operation, "track") == 0)
        track_table(path, other);
    else if (strcmp(operation, "hash") == 0)
        read_hash(path);
    else if (strcmp(operation, "purge") == 0)
        purge_log(path);
    else {
        fprintf(stderr, "crash_victim: \"%s\" is no operation\n", operation);
        return 2;
    }
    return 0;
}
