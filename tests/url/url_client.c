/* url_client.c - what a C program does with a server, for tests/python/test_url.py. One command with its options:
 *
 *     url_client sync|pull|verify|threads|cancel|loose DATABASE URL [OPTION=VALUE]...
 *
 * Prints what came of it: "pulled N pushed N"; a report; or, with exit status 1, "CODE message". */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "csync_url.h"

static csync_url_options options = {.struct_size = sizeof options};
static int batch_size;

static int fail(int rc, const csync_error *err)
{
    printf("%s %s\n", csync_code_name(rc), err->message);
    printf("%lld [%s] [%s]\n", (long long)err->version, err->expected, err->actual);
    return 1;
}

/* ---- options ---- */

static int set_text(const char *argument, const char *name, const char **out)
{
    size_t len = strlen(name);

    if (strncmp(argument, name, len) != 0 || argument[len] != '=')
        return 0;
    *out = argument + len + 1;
    return 1;
}

static int set_number(const char *argument, const char *name, int *out)
{
    const char *text;

    if (!set_text(argument, name, &text))
        return 0;
    *out = (int)strtol(text, NULL, 10);
    return 1;
}

static int set(const char *a)
{
    int max_answer;

    if (set_number(a, "max_answer", &max_answer)) {
        options.max_answer = max_answer;
        return 1;
    }
    return set_text(a, "token", &options.token) || set_text(a, "ca_file", &options.ca_file) ||
           set_text(a, "proxy", &options.proxy) || set_number(a, "connect_ms", &options.connect_ms) ||
           set_number(a, "silence_ms", &options.silence_ms) ||
           set_number(a, "tries", &options.tries) || set_number(a, "wait_ms", &options.wait_ms) ||
           set_number(a, "batch_size", &batch_size);
}

/* ---- commands ---- */

static int say(int rc, const csync_result *result, const csync_error *err)
{
    if (rc != CSYNC_OK)
        return fail(rc, err);
    printf("pulled %lld pushed %lld\n", (long long)result->pulled, (long long)result->pushed);
    return 0;
}

static int synced(csync *db, csync_url *peer, int direction)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_result result = {.struct_size = sizeof result};
    csync_sync_options o = {.struct_size = sizeof o, .direction = direction, .batch_size = batch_size};

    return say(csync_sync_remote(db, csync_url_remote(peer), &o, &result, &err), &result, &err);
}

static int verified(csync *db, csync_url *peer)
{
    csync_error err = CSYNC_ERROR_INIT;
    char *report = NULL;
    int rc = csync_verify_remote(db, csync_url_remote(peer), NULL, &report, &err);

    if (rc != CSYNC_OK)
        return fail(rc, &err);
    printf("%s\n", report);
    csync_free(report);
    return 0;
}

/* Pushes a page that has no idempotency key, as a relay may. */
static int pushed_loosely(csync *db, csync_url *peer)
{
    const csync_remote *remote = csync_url_remote(peer);
    csync_error err = CSYNC_ERROR_INIT;
    csync_fetch fetch = {.struct_size = sizeof fetch};
    csync_batch *batch = NULL;
    csync_outcome *outcome = NULL;
    int rc = csync_changes(db, &fetch, &batch, &err);

    if (rc == CSYNC_OK)
        rc = remote->send(remote->user_data, batch, &outcome, &err);
    csync_batch_free(batch);
    if (rc != CSYNC_OK)
        return fail(rc, &err);
    printf("%zu outcomes\n", csync_outcome_count(outcome));
    csync_outcome_free(outcome);
    return 0;
}

static void pause_ms(long ms)
{
    const struct timespec time = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&time, NULL);
}

static void *cancel_soon(void *peer)
{
    pause_ms(300);
    csync_url_cancel(peer);
    return NULL;
}

/* A sync that another thread cancels, and one behind it that nobody does. */
static int cancelled(csync *db, csync_url *peer)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, cancel_soon, peer) != 0)
        return 2;
    (void)synced(db, peer, CSYNC_BOTH);
    pthread_join(thread, NULL);
    return 0;
}

/* ---- threads, each with a replica and a peer of its own ---- */

static const char *url;

typedef struct worker {
    char path[512];
    int status;
} worker;

static void *work(void *ctx)
{
    worker *w = ctx;
    csync_error err = CSYNC_ERROR_INIT;
    csync *db = NULL;
    csync_url *peer = NULL;

    w->status = csync_open(&db, w->path, NULL, &err);
    if (w->status == CSYNC_OK)
        w->status = csync_url_open(&peer, url, &options, &err);
    for (int i = 0; w->status == CSYNC_OK && i < 20; i++) {
        csync_value id = {.type = CSYNC_INTEGER, .integer = 1000 + i};

        w->status = csync_execute(db, "INSERT OR REPLACE INTO note(id, body) VALUES(?1, random())",
                                  &id, 1, NULL, NULL, NULL, &err);
        if (w->status == CSYNC_OK)
            w->status = csync_sync_remote(db, csync_url_remote(peer), NULL, NULL, &err);
    }
    if (w->status != CSYNC_OK)
        fail(w->status, &err);
    csync_url_close(peer);
    csync_close(db);
    return NULL;
}

/* DATABASE and DATABASE.2 */
static int worked(const char *path)
{
    worker workers[2];
    pthread_t threads[2];

    for (int i = 0; i < 2; i++) {
        snprintf(workers[i].path, sizeof workers[i].path, "%s%s", path, i ? ".2" : "");
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
            return 2;
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return workers[0].status || workers[1].status;
}

/* ---- main ---- */

static int run(const char *command, csync *db, csync_url *peer)
{
    if (strcmp(command, "sync") == 0)
        return synced(db, peer, CSYNC_BOTH);
    if (strcmp(command, "pull") == 0)
        return synced(db, peer, CSYNC_PULL);
    if (strcmp(command, "verify") == 0)
        return verified(db, peer);
    if (strcmp(command, "cancel") == 0)
        return cancelled(db, peer);
    if (strcmp(command, "loose") == 0)
        return pushed_loosely(db, peer);
    return 2;
}

static int opened(const char *command, const char *path)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync *db = NULL;
    csync_url *peer = NULL;
    int rc = csync_open(&db, path, NULL, &err), status;

    if (rc == CSYNC_OK)
        rc = csync_url_open(&peer, url, &options, &err);
    status = rc == CSYNC_OK ? run(command, db, peer) : fail(rc, &err);
    csync_url_close(peer);
    csync_close(db);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    for (int i = 4; i < argc; i++)
        if (!set(argv[i]))
            return 2;
    url = argv[3];
    return strcmp(argv[1], "threads") == 0 ? worked(argv[2]) : opened(argv[1], argv[2]);
}
