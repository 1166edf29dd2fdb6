/* with_server.c - an SQLite file in step with a server, from C. On the other side: csync serve notes.db
 *
 *     cc with_server.c $(pkg-config --cflags --libs csync) -o with_server && ./with_server phone.db http://127.0.0.1:5000/
 *
 * The token for the server is in CSYNC_TOKEN. */
#include <stdio.h>
#include <stdlib.h>

#include <csync_url.h>

static void check(int rc, const csync_error *err)
{
    if (rc == CSYNC_OK)
        return;
    fprintf(stderr, "with_server: %s (%s)\n", err->message, csync_code_name(rc));
    exit(1);
}

static csync *open_notes(const char *path)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync *db = NULL;

    check(csync_open(&db, path, NULL, &err), &err);
    check(csync_execute(db, "CREATE TABLE IF NOT EXISTS note(id INTEGER PRIMARY KEY, text TEXT)",
                        NULL, 0, NULL, NULL, NULL, &err),
          &err);
    check(csync_track(db, "note", NULL, &err), &err);
    return db;
}

int main(int argc, char **argv)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_result result = {.struct_size = sizeof result};
    csync_url_options options = {.struct_size = sizeof options, .token = getenv("CSYNC_TOKEN")};
    csync_url *peer;
    csync *db;

    if (argc != 3) {
        fprintf(stderr, "usage: with_server DATABASE URL\n");
        return 2;
    }
    db = open_notes(argv[1]);
    check(csync_url_open(&peer, argv[2], &options, &err), &err);
    check(csync_sync_remote(db, csync_url_remote(peer), NULL, &result, &err), &err);
    printf("pulled %lld, pushed %lld\n", (long long)result.pulled, (long long)result.pushed);
    csync_url_close(peer);
    csync_close(db);
    return 0;
}
