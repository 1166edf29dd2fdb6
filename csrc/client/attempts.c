/* attempts.c - a request until it is answered: what fails for a moment is tried again, and a refusal becomes an error. */
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "codec/coding.h"
#include "client/url.h"

enum { SMALL = 1024 }; /* bytes that are not worth a coding */
enum { LONGEST_WAIT = 60 * 1000 };

/* ---- waits ---- */

/* Milliseconds that a Retry-After asks for, which may be a date; -1: it is none. */
static int64_t asked_for(const csync_url *u, const char *text)
{
    size_t digits = strspn(text, "0123456789");
    int64_t value = 0;
    time_t then;

    if (digits && !text[digits]) {
        for (size_t i = 0; i < digits && value < INT32_MAX; i++)
            value = value * 10 + (text[i] - '0');
        return value * 1000;
    }
    then = *text ? u->curl->curl_getdate(text, NULL) : -1;
    if (then == -1)
        return -1;
    value = (int64_t)then * 1000 - cs_time_now();
    return value > 0 ? value : 0;
}

/* By chance, so that those whom one failure has hit do not come back together. */
static int64_t wait_by_chance(const csync_url *u, int attempt)
{
    int64_t most = u->options.wait_ms;
    uint32_t chance = UINT32_MAX;

    for (int i = 1; i < attempt && most < LONGEST_WAIT; i++)
        most *= 2;
    most = most < LONGEST_WAIT ? most : LONGEST_WAIT;
    (void)!getrandom(&chance, sizeof chance, 0);
    return (int64_t)((double)most * chance / UINT32_MAX);
}

/* ---- refusals ---- */

/* The code of that name, of those that a peer may fail with. */
static int code_of(const char *name)
{
    static const int ours[] = {CSYNC_ENOMEM, CSYNC_ETIMEOUT, CSYNC_ECALLBACK};

    for (int code = CSYNC_ERROR; name && code >= CSYNC_ECLOCK; code--) {
        if (strcmp(csync_code_name(code), name) != 0)
            continue;
        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
            if (code == ours[i])
                return CSYNC_EPROTO;
        return code;
    }
    return CSYNC_EPROTO;
}

static void copy_hash(char out[CSYNC_HASH_SIZE], const char *text)
{
    if (text && strlen(text) < CSYNC_HASH_SIZE)
        memcpy(out, text, strlen(text) + 1);
}

/* What a caller needs to go on, which the peer's csync wrote into its csync_error. */
static void note_details(csync_error *err, int code, const cs_said *said)
{
    if (!cs_error_writable(err) ||
        (code != CSYNC_EFULLRESYNC && code != CSYNC_EHASH && code != CSYNC_ECLOCK))
        return;
    err->version = said->version;
    copy_hash(err->expected, said->expected);
    copy_hash(err->actual, said->actual);
}

static int refused(const csync_url *u, const cs_response *r, const char *more, csync_error *err)
{
    cs_said said;
    int rc = cs_said_read(&said, r->body.data ? r->body.data : "", r->body.len, err), code;

    if (rc != CSYNC_OK) {
        cs_said_free(&said);
        return rc;
    }
    code = r->status == 401 || r->status == 403 ? CSYNC_EAUTH : code_of(said.code);
    note_details(err, code, &said);
    if (said.detail)
        rc = cs_fail(err, code, "%s answered %ld: %s%s", u->place.base, r->status, said.detail, more);
    else if (r->status >= 300 && r->status < 400)
        rc = cs_fail(err, code,
                     "%s answered %ld: it says that it is at %s; if that is right, give "
                     "its URL%s",
                     u->place.base, r->status, r->elsewhere ? r->elsewhere : "another place", more);
    else
        rc = cs_fail(err, code, "%s answered %ld%s", u->place.base, r->status, more);
    cs_said_free(&said);
    return rc;
}

/* ---- answers ---- */

/* The best coding that it says it takes bodies in. */
static int offered(const char *list)
{
    int best = -1;

    while (*list) {
        size_t len = strcspn(list, ", ");
        int coding = cs_coding_find(list, len);

        if (coding >= 0 && cs_coding_check(coding, NULL) == CSYNC_OK && (best < 0 || coding < best))
            best = coding;
        list += len;
        list += strspn(list, ", ");
    }
    return best;
}

static int unfold(csync_url *u, cs_response *r, cs_buf *out, csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    int coding = cs_coding_find(r->coding, strlen(r->coding)), rc;

    u->coding = offered(r->takes);
    if (!*r->coding || strcasecmp(r->coding, "identity") == 0) {
        *out = r->body;
        r->body = (cs_buf){0};
        return cs_buf_check(out, err);
    }
    if (coding < 0)
        return cs_fail(err, CSYNC_EPROTO, "%s answered in a coding that cannot be read: %s",
                       u->place.base, r->coding);
    rc = cs_coding_decode(coding, r->body.data, r->body.len, (size_t)u->options.max_answer, out,
                          &why);
    if (rc == CSYNC_OK)
        return cs_buf_check(out, err);
    if (rc == CSYNC_ENOMEM)
        return cs_fail_nomem(err);
    return cs_fail(err, CSYNC_EPROTO, "%s answered in a coding that cannot be read: %s",
                   u->place.base, why.message);
}

/* ---- attempts ---- */

/* Whoever answers 429 or 503 has done nothing. */
static int is_momentary(long status, int again)
{
    return status == 429 || status == 503 || (again && (status == 502 || status == 504));
}

/* What follows an attempt: CSYNC_OK: another one, after *wait. */
static int next_of(csync_url *u, int rc, const cs_question *q, const cs_response *r, int attempt,
                   int64_t *wait, csync_error *err)
{
    int is_last = attempt == u->options.tries;
    char more[128] = "";

    *wait = -1;
    if (rc == CSYNC_ENET) {
        csync_error why = CSYNC_ERROR_INIT;

        cs_error_copy(&why, err);
        if (is_last || !q->again || r->is_final)
            return cs_fail(err, CSYNC_ENET, "%s cannot be reached: %s", u->place.base, why.message);
    } else if (!is_momentary(r->status, q->again) || is_last) {
        return refused(u, r, "", err);
    } else if ((*wait = asked_for(u, r->retry_after)) > LONGEST_WAIT) {
        snprintf(more, sizeof more, "; it wants %s to pass before the next attempt", r->retry_after);
        return refused(u, r, more, err);
    }
    if (*wait < 0)
        *wait = wait_by_chance(u, attempt);
    return CSYNC_OK;
}

/* The attempt whose answer counts; the others' are passed over. */
static int attempts(csync_url *u, const cs_question *q, cs_response *r, csync_error *err)
{
    for (int attempt = 1;; attempt++) {
        int64_t wait;
        int rc;

        cs_response_clear(r);
        rc = cs_transfer(u, q, r, err);
        if (rc != CSYNC_OK && rc != CSYNC_ENET)
            return rc;
        if (rc == CSYNC_OK &&
            ((r->status >= 200 && r->status < 300) || (r->status == 415 && q->coding)))
            return CSYNC_OK;
        rc = next_of(u, rc, q, r, attempt, &wait, err);
        if (rc == CSYNC_OK)
            rc = cs_transfer_wait(u, wait, err);
        if (rc != CSYNC_OK)
            return rc;
    }
}

/* With the body in the coding that the server takes. */
static int ask_coded(csync_url *u, const cs_question *q, cs_response *r, csync_error *err)
{
    cs_question coded = *q;
    cs_buf body = {0};
    int rc = CSYNC_OK;

    if (q->body && q->length >= SMALL && u->coding >= 0) {
        rc = cs_coding_encode(u->coding, q->body, q->length, &body, err);
        coded.body = body.data;
        coded.length = body.len;
        coded.coding = cs_coding_names[u->coding];
    }
    if (rc == CSYNC_OK)
        rc = attempts(u, &coded, r, err);
    cs_buf_free(&body);
    return rc;
}

int cs_url_ask(csync_url *u, const cs_question *question, cs_buf *out, csync_error *err)
{
    cs_response response = {0};
    csync_error why = CSYNC_ERROR_INIT;
    int rc = ask_coded(u, question, &response, &why);

    if (rc == CSYNC_OK && response.status == 415) { /* it was another server that takes the coding */
        u->coding = -1;
        rc = ask_coded(u, question, &response, &why);
    }
    if (rc == CSYNC_OK)
        rc = unfold(u, &response, out, &why);
    if (rc != CSYNC_OK)
        cs_error_copy(err, &why);
    cs_response_clear(&response);
    return rc;
}
