/* url.c - the public entry points of the client of a server, and what they ask it. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/options.h"
#include "client/url.h"
#include "model/change.h"

enum { CONNECT_MS = 20 * 1000, SILENCE_MS = 60 * 1000, TRIES = 5, WAIT_MS = 500 };
#define LARGEST ((int64_t)1 << 30)

/* ---- conversations ---- */

static int enter(csync_url *u, csync_error *err)
{
    cs_error_clear(err);
    if (u->pid != getpid())
        return cs_fail(err, CSYNC_EMISUSE,
                       "the URL was opened before fork; open it again in the child process");
    if (cs_lock_enter(&u->lock) != CSYNC_OK)
        return cs_fail(err, CSYNC_EBUSY, "this thread is in a call on the URL already");
    return CSYNC_OK;
}

/* Asks for a path; the caller is in. */
static int ask(csync_url *u, cs_question *question, const char *path, const cs_pair *pairs,
               size_t count, cs_buf *out, csync_error *err)
{
    cs_buf url = {0};
    int rc;

    cs_place_target(&url, &u->place, path, pairs, count);
    rc = cs_buf_check(&url, err);
    question->url = url.data;
    if (rc == CSYNC_OK)
        rc = cs_url_ask(u, question, out, err);
    cs_buf_free(&url);
    return rc;
}

static int no_csync(const csync_url *u, const char *why, csync_error *err)
{
    return cs_fail(err, CSYNC_EPROTO, "%s is no replica of csync: %s", u->place.base, why);
}

/* The origin of the replica there: what is asked of it is kept under that, however it is reached. */
static int ask_name(csync_url *u, csync_error *err)
{
    cs_question question = {.again = 1};
    cs_buf answer = {0};
    cs_said state = {0};
    int rc = ask(u, &question, "/sync/state", NULL, 0, &answer, err);

    if (rc == CSYNC_OK)
        rc = cs_said_read(&state, answer.data, answer.len, err);
    if (rc == CSYNC_OK && (!state.origin || cs_origin_check(state.origin, NULL) != CSYNC_OK))
        rc = no_csync(u, "it does not say its origin", err);
    if (rc == CSYNC_OK)
        memcpy(u->name, state.origin, strlen(state.origin) + 1);
    cs_said_free(&state);
    cs_buf_free(&answer);
    return rc;
}

/* What it answered could not be read: that is not the caller's fault. */
static int misread(const csync_url *u, int rc, csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;

    if (rc != CSYNC_EINVAL)
        return rc;
    if (cs_error_writable(err))
        cs_error_copy(&why, err);
    cs_error_clear(err);
    return cs_fail(err, CSYNC_EPROTO, "%s answered what cannot be read: %s", u->place.base,
                   why.message);
}

static int ask_page(csync_url *u, const csync_fetch *fetch, cs_buf *answer, csync_error *err)
{
    cs_question question = {.again = 1};
    char since[CS_INT_SIZE + 1] = "", limit[CS_INT_SIZE + 1] = "";
    const cs_pair log[] = {{"batchSize", fetch->limit ? limit : NULL},
                           {"origin", fetch->origin},
                           {"fromVersion", since},
                           {"epoch", fetch->epoch}};
    const cs_pair snapshot[] = {{"batchSize", fetch->limit ? limit : NULL},
                                {"origin", fetch->origin},
                                {"cursor", fetch->cursor}};

    snprintf(since, sizeof since, "%lld", (long long)fetch->since);
    snprintf(limit, sizeof limit, "%d", fetch->limit);
    if (fetch->table_count)
        return cs_fail(err, CSYNC_EUNSUPPORTED,
                       "a server is asked for every table that its token may see");
    if (fetch->cursor)
        return ask(u, &question, "/sync/snapshot", snapshot, sizeof snapshot / sizeof *snapshot,
                   answer, err);
    return ask(u, &question, "/sync/changes", log, sizeof log / sizeof *log, answer, err);
}

static int fetch_page(void *user_data, const csync_fetch *fetch, csync_batch **out, csync_error *err)
{
    csync_url *u = user_data;
    csync_fetch wanted;
    cs_buf answer = {0};
    int rc = enter(u, err);

    *out = NULL;
    if (rc != CSYNC_OK)
        return rc;
    rc = CS_OPTIONS_IN(&wanted, fetch, err);
    if (rc == CSYNC_OK)
        rc = ask_page(u, &wanted, &answer, err);
    if (rc == CSYNC_OK)
        rc = misread(u, csync_batch_from_json(out, answer.data, answer.len, err), err);
    cs_buf_free(&answer);
    cs_lock_leave(&u->lock);
    return rc;
}

/* It may arrive twice: a session's batch has an idempotency key. */
static int push(csync_url *u, const csync_batch *batch, const char *json, size_t length,
                csync_outcome **out, csync_error *err)
{
    csync_batch_info info = {.struct_size = sizeof info};
    cs_question question = {.body = json, .length = length};
    cs_buf answer = {0};
    int rc;

    (void)csync_batch_get_info(batch, &info);
    question.again = info.key != NULL;
    rc = ask(u, &question, "/sync/changes", NULL, 0, &answer, err);
    if (rc == CSYNC_OK)
        rc = misread(u, csync_outcome_from_json(out, answer.data, answer.len, err), err);
    cs_buf_free(&answer);
    return rc;
}

static int send_batch(void *user_data, const csync_batch *batch, csync_outcome **out, csync_error *err)
{
    csync_url *u = user_data;
    char *json = NULL;
    size_t length = 0;
    int rc = enter(u, err);

    *out = NULL;
    if (rc != CSYNC_OK)
        return rc;
    rc = csync_batch_to_json(batch, &json, &length, err);
    if (rc == CSYNC_OK)
        rc = push(u, batch, json, length, out, err);
    csync_free(json);
    cs_lock_leave(&u->lock);
    return rc;
}

static int ask_digest(void *user_data, const char *request, char **answer, csync_error *err)
{
    csync_url *u = user_data;
    cs_question question = {.body = request, .length = strlen(request), .again = 1};
    cs_buf text = {0};
    int rc = enter(u, err);

    *answer = NULL;
    if (rc != CSYNC_OK)
        return rc;
    rc = ask(u, &question, "/sync/digest", NULL, 0, &text, err);
    if (rc == CSYNC_OK)
        *answer = cs_buf_take(&text, err);
    if (rc == CSYNC_OK && !*answer)
        rc = CSYNC_ENOMEM;
    cs_buf_free(&text);
    cs_lock_leave(&u->lock);
    return rc;
}

/* ---- opening ---- */

static int fill_in(csync_url_options *o, csync_error *err)
{
    if (o->connect_ms < 0 || o->silence_ms < 0 || o->tries < 0 || o->wait_ms < 0 || o->max_answer < 0)
        return cs_fail(err, CSYNC_EINVAL, "an option is negative");
    if (o->max_answer > LARGEST)
        return cs_fail(err, CSYNC_EINVAL, "max_answer is more than %lld bytes", (long long)LARGEST);
    o->connect_ms = o->connect_ms ? o->connect_ms : CONNECT_MS;
    o->silence_ms = o->silence_ms ? o->silence_ms : SILENCE_MS;
    o->tries = o->tries ? o->tries : TRIES;
    o->wait_ms = o->wait_ms ? o->wait_ms : WAIT_MS;
    o->max_answer = o->max_answer ? o->max_answer : LARGEST;
    return CSYNC_OK;
}

static int check_token(const csync_url *u, csync_error *err)
{
    const char *token = u->options.token;

    for (const char *c = token ? token : ""; *c; c++)
        if (*c <= ' ' || *c >= 0x7f)
            return cs_fail(err, CSYNC_EINVAL, "the token has characters that no token has");
    if (token && *token && !u->place.is_tls && !u->place.is_local)
        return cs_fail(err, CSYNC_EINVAL, "%s: a token goes over https:// only, or to this machine",
                       u->place.base);
    return CSYNC_OK;
}

static int check_ca_file(const csync_url *u, csync_error *err)
{
    const char *file = u->options.ca_file;

    return !file || access(file, R_OK) == 0
               ? CSYNC_OK
               : cs_fail(err, CSYNC_ENOTFOUND, "%s cannot be read: %m", file);
}

static int keep_text(char **out, const char *text, csync_error *err)
{
    *out = cs_strdup(text);
    return text && !*out ? cs_fail_nomem(err) : CSYNC_OK;
}

static int keep_texts(csync_url *u, csync_error *err)
{
    const csync_url_options *o = &u->options;
    int rc = keep_text(&u->token, o->token && *o->token ? o->token : NULL, err);

    if (rc == CSYNC_OK)
        rc = keep_text(&u->ca_file, o->ca_file, err);
    if (rc == CSYNC_OK)
        rc = keep_text(&u->proxy, o->proxy, err);
    if (rc == CSYNC_OK && !o->ca_file)
        rc = keep_text(&u->env_ca_file, getenv("SSL_CERT_FILE"), err);
    if (rc == CSYNC_OK && !o->ca_file)
        rc = keep_text(&u->env_ca_dir, getenv("SSL_CERT_DIR"), err);
    u->options.token = u->options.ca_file = u->options.proxy = NULL;
    return rc;
}

static int settle(csync_url *u, const char *url, const csync_url_options *options, csync_error *err)
{
    int rc = CS_OPTIONS_IN(&u->options, options, err);

    if (rc == CSYNC_OK)
        rc = fill_in(&u->options, err);
    if (rc == CSYNC_OK)
        rc = cs_place_read(&u->place, u->curl, url, err);
    if (rc == CSYNC_OK)
        rc = check_token(u, err);
    if (rc == CSYNC_OK)
        rc = check_ca_file(u, err);
    if (rc == CSYNC_OK)
        rc = keep_texts(u, err);
    return rc == CSYNC_OK ? cs_transfer_open(u, err) : rc;
}

/* One that is closed by csync_url_close, whatever is still missing. */
static int create(csync_url **out, csync_error *err)
{
    const cs_curl *curl;
    csync_url *u = NULL;
    int rc = cs_curl_open(&curl, err);

    if (rc == CSYNC_OK && !(u = cs_calloc(1, sizeof *u)))
        rc = cs_fail_nomem(err);
    if (rc == CSYNC_OK && cs_lock_init(&u->lock) != CSYNC_OK) {
        cs_free(u);
        rc = cs_fail_nomem(err);
    }
    if (rc != CSYNC_OK)
        return rc;
    u->curl = curl;
    u->pid = getpid();
    u->coding = -1;
    u->remote = (csync_remote){sizeof u->remote, u->name, u, fetch_page, send_batch, ask_digest};
    *out = u;
    return CSYNC_OK;
}

int csync_url_open(csync_url **out, const char *url, const csync_url_options *options,
                   csync_error *err)
{
    csync_url *u = NULL;
    int rc;

    cs_error_clear(err);
    if (out)
        *out = NULL;
    if (!out || !url)
        return cs_fail(err, CSYNC_EMISUSE, "out or url is NULL");
    rc = create(&u, err);
    if (rc == CSYNC_OK)
        rc = settle(u, url, options, err);
    if (rc == CSYNC_OK)
        rc = ask_name(u, err);
    if (rc == CSYNC_OK)
        *out = u;
    else
        csync_url_close(u);
    return rc;
}

const csync_remote *csync_url_remote(const csync_url *peer)
{
    return peer ? &peer->remote : NULL;
}

void csync_url_cancel(csync_url *peer)
{
    if (!peer || peer->pid != getpid())
        return;
    atomic_store(&peer->is_cancelled, 1);
    peer->curl->curl_multi_wakeup(peer->multi);
}

/* A child process leaves the handles alone: closing them would end the parent's connection. */
void csync_url_close(csync_url *peer)
{
    if (!peer)
        return;
    if (peer->pid == getpid()) {
        cs_transfer_close(peer);
        cs_lock_destroy(&peer->lock);
    }
    cs_place_free(&peer->place);
    cs_free(peer->token);
    cs_free(peer->ca_file);
    cs_free(peer->proxy);
    cs_free(peer->env_ca_file);
    cs_free(peer->env_ca_dir);
    cs_free(peer);
}
