/* transfer.c - one request to a server and its response, by libcurl. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/mem.h"
#include "base/watch.h"
#include "codec/coding.h"
#include "client/url.h"

enum { WAIT_MAX = 60 * 1000, HEADERS_MAX = 64 << 10 };

void cs_response_clear(cs_response *response)
{
    cs_buf_free(&response->body);
    cs_free(response->elsewhere);
    *response = (cs_response){0};
}

/* ---- SIGPIPE ----
 * libcurl is told to leave signals alone, as it would set them for the whole process. So writing to a connection that was
 * closed must not kill it: the signal is held back in this thread, and dropped. */

typedef struct hush {
    sigset_t pipe, before;
    int was_pending;
} hush;

static void hush_begin(hush *h)
{
    sigset_t pending;

    sigemptyset(&h->pipe);
    sigaddset(&h->pipe, SIGPIPE);
    sigpending(&pending);
    h->was_pending = sigismember(&pending, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &h->pipe, &h->before);
}

static void hush_end(const hush *h)
{
    const struct timespec none = {0};

    while (!h->was_pending && sigtimedwait(&h->pipe, NULL, &none) == -1 && errno == EINTR)
        ;
    pthread_sigmask(SIG_SETMASK, &h->before, NULL);
}

/* ---- handles ---- */

int cs_transfer_open(csync_url *u, csync_error *err)
{
    u->multi = u->curl->curl_multi_init();
    u->easy = u->curl->curl_easy_init();
    return u->multi && u->easy ? CSYNC_OK : cs_fail_nomem(err);
}

void cs_transfer_close(csync_url *u)
{
    hush h;

    hush_begin(&h);
    if (u->easy)
        u->curl->curl_easy_cleanup(u->easy);
    if (u->multi)
        u->curl->curl_multi_cleanup(u->multi);
    hush_end(&h);
}

/* ---- what libcurl gives back ---- */

static size_t take_body(char *data, size_t size, size_t count, void *ctx)
{
    cs_response *response = ctx;

    cs_buf_put(&response->body, data, size * count);
    return response->body.failed ? 0 : size * count;
}

/* The value of a header line of that name, without white space around it, when it is the first one. */
static void keep(const char *line, size_t len, const char *name, char *out, size_t size)
{
    size_t name_len = strlen(name);

    if (*out || len <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
        return;
    line += name_len + 1;
    len -= name_len + 1;
    while (len && strchr(" \t\r\n", line[len - 1]))
        len--;
    while (len && strchr(" \t", *line))
        line++, len--;
    len = len < size ? len : size - 1;
    memcpy(out, line, len);
    out[len] = 0;
}

/* The headers of each response come, also those of a "100 Continue". */
static size_t take_header(char *line, size_t size, size_t count, void *ctx)
{
    cs_response *r = ctx;
    size_t len = size * count;

    r->headers += len;
    if (r->headers > HEADERS_MAX)
        return 0;
    if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
        r->is_headed = *r->retry_after = *r->takes = *r->coding = 0;
    if (*line == '\r' || *line == '\n')
        r->is_headed = 1;
    keep(line, len, "Retry-After", r->retry_after, sizeof r->retry_after);
    keep(line, len, "Accept-Encoding", r->takes, sizeof r->takes);
    keep(line, len, "Content-Encoding", r->coding, sizeof r->coding);
    return len;
}

/* ---- what libcurl is told ---- */

typedef struct setup {
    csync_url *u;
    struct curl_slist *headers;
    CURLcode code; /* the first failure */
} setup;

/* curl_easy_setopt is variadic: a number has to be a long, and a NULL a pointer. */
static void set_number(setup *s, CURLoption option, long value)
{
    if (s->code == CURLE_OK)
        s->code = s->u->curl->curl_easy_setopt(s->u->easy, option, value);
}

static void set_pointer(setup *s, CURLoption option, const void *value)
{
    if (s->code == CURLE_OK)
        s->code = s->u->curl->curl_easy_setopt(s->u->easy, option, value);
}

static void set_taker(setup *s, CURLoption option,
                      size_t (*taker)(char *data, size_t size, size_t count, void *ctx))
{
    if (s->code == CURLE_OK)
        s->code = s->u->curl->curl_easy_setopt(s->u->easy, option, taker);
}

static void add_header(setup *s, const char *name, const char *prefix, const char *value)
{
    cs_buf line = {0};
    struct curl_slist *longer = NULL;

    cs_buf_printf(&line, "%s%s%s", name, prefix, value);
    if (cs_buf_check(&line, NULL) == CSYNC_OK)
        longer = s->u->curl->curl_slist_append(s->headers, line.data);
    if (longer)
        s->headers = longer;
    else
        s->code = CURLE_OUT_OF_MEMORY;
    cs_buf_free(&line);
}

static void set_headers(setup *s, const cs_question *q)
{
    const char *codings = cs_codings_here();

    add_header(s, "Accept: ", "", "application/json");
    add_header(s, "Accept-Encoding: ", "", *codings ? codings : "identity");
    add_header(s, "User-Agent: ", "csync/", csync_version());
    if (s->u->token)
        add_header(s, "Authorization: ", "Bearer ", s->u->token);
    if (q->body) {
        add_header(s, "Content-Type: ", "", "application/json");
        add_header(s, "Expect:", "", ""); /* not asked for: it would cost a round trip */
    }
    if (q->coding)
        add_header(s, "Content-Encoding: ", "", q->coding);
    set_pointer(s, CURLOPT_HTTPHEADER, s->headers);
}

static void set_trust(setup *s)
{
    const csync_url *u = s->u;

    set_number(s, CURLOPT_SSL_VERIFYPEER, 1);
    set_number(s, CURLOPT_SSL_VERIFYHOST, 2);
    set_number(s, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2); /* or later */
    if (u->ca_file) {
        set_pointer(s, CURLOPT_CAINFO, u->ca_file);
        set_pointer(s, CURLOPT_CAPATH, NULL);
        return;
    }
    if (u->env_ca_file)
        set_pointer(s, CURLOPT_CAINFO, u->env_ca_file);
    if (u->env_ca_dir)
        set_pointer(s, CURLOPT_CAPATH, u->env_ca_dir);
}

static void set_way(setup *s, const cs_question *q)
{
    const csync_url *u = s->u;

    set_pointer(s, CURLOPT_URL, q->url);
    set_number(s, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    set_number(s, CURLOPT_FOLLOWLOCATION, 0);
    set_number(s, CURLOPT_NOSIGNAL, 1);
    set_number(s, CURLOPT_CONNECTTIMEOUT_MS, u->options.connect_ms);
    set_number(s, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1); /* a proxy's, which say nothing of the server */
    if (u->place.is_local)
        set_pointer(s, CURLOPT_PROXY, "");
    else if (u->proxy) {
        set_pointer(s, CURLOPT_PROXY, u->proxy);
        set_pointer(s, CURLOPT_NOPROXY, "");
    }
    /* What a kept connection loses before there is an answer, libcurl sends again by itself. */
    set_number(s, CURLOPT_FRESH_CONNECT, !q->again);
}

static void set_all(setup *s, const cs_question *q, cs_response *out, char why[CURL_ERROR_SIZE])
{
    set_way(s, q);
    set_trust(s);
    set_headers(s, q);
    if (q->body) {
        set_number(s, CURLOPT_POST, 1);
        set_pointer(s, CURLOPT_POSTFIELDS, q->body);
        if (s->code == CURLE_OK)
            s->code = s->u->curl->curl_easy_setopt(s->u->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                                                   (curl_off_t)q->length);
    }
    set_pointer(s, CURLOPT_ERRORBUFFER, why);
    set_taker(s, CURLOPT_WRITEFUNCTION, take_body);
    set_pointer(s, CURLOPT_WRITEDATA, out);
    set_taker(s, CURLOPT_HEADERFUNCTION, take_header);
    set_pointer(s, CURLOPT_HEADERDATA, out);
}

/* ---- carrying it out ---- */

static int cancelled(csync_url *u, csync_error *err)
{
    return atomic_exchange(&u->is_cancelled, 0) ? cs_fail(err, CSYNC_ECANCELED, "cancelled")
                                                : CSYNC_OK;
}

static int broken(csync_url *u, CURLMcode code, csync_error *err)
{
    return code == CURLM_OUT_OF_MEMORY
               ? cs_fail_nomem(err)
               : cs_fail(err, CSYNC_ERROR, "libcurl failed: %s", u->curl->curl_multi_strerror(code));
}

/* Until the transfer has ended, with *code. Sockets that are ready are bytes that come or go: a connection without any for so
 * long is lost, whatever was said before. */
static int run(csync_url *u, CURLcode *code, csync_error *err)
{
    int64_t last = cs_monotonic_ms();
    int running = 1, rc = cancelled(u, err);

    while (rc == CSYNC_OK) {
        CURLMcode failed = u->curl->curl_multi_perform(u->multi, &running);
        int64_t left = last + u->options.silence_ms - cs_monotonic_ms();
        int events = 0;

        if (failed == CURLM_OK && !running)
            break;
        if (failed == CURLM_OK && left <= 0)
            return cs_fail(err, CSYNC_ENET, "no byte came or went for %d ms", u->options.silence_ms);
        if (failed == CURLM_OK)
            failed = u->curl->curl_multi_poll(u->multi, NULL, 0, (int)left, &events);
        if (events > 0)
            last = cs_monotonic_ms();
        rc = failed == CURLM_OK ? cancelled(u, err) : broken(u, failed, err);
    }
    if (rc == CSYNC_OK) {
        int more;
        const CURLMsg *ended = u->curl->curl_multi_info_read(u->multi, &more);

        *code = ended ? ended->data.result : CURLE_FAILED_INIT;
    }
    return rc;
}

/* What a failed transfer is to the caller. libcurl quotes a proxy that it does not understand, with its password. */
static int explain(csync_url *u, CURLcode code, const char *why, cs_response *out, csync_error *err)
{
    if (out->body.failed == CSYNC_EINVAL)
        return cs_fail(err, CSYNC_EPROTO, "the answer is larger than %lld bytes",
                       (long long)u->options.max_answer);
    if (out->body.failed || code == CURLE_OUT_OF_MEMORY)
        return cs_fail_nomem(err);
    if (!*why || strchr(why, '@') || code == CURLE_COULDNT_RESOLVE_PROXY)
        why = u->curl->curl_easy_strerror(code);
    if (out->headers > HEADERS_MAX)
        why = "the answer's headers are too large";
    out->is_final = code == CURLE_PEER_FAILED_VERIFICATION;
    if (code == CURLE_SSL_CACERT_BADFILE)
        return cs_fail(err, CSYNC_EINVAL, "the file of authorities cannot be used: %s", why);
    return cs_fail(err, CSYNC_ENET, "%s", why);
}

static int note_place(csync_url *u, cs_response *out, csync_error *err)
{
    char *url = NULL; /* libcurl's */

    u->curl->curl_easy_getinfo(u->easy, CURLINFO_RESPONSE_CODE, &out->status);
    u->curl->curl_easy_getinfo(u->easy, CURLINFO_REDIRECT_URL, &url);
    if (url && cs_place_show(u->curl, url, &out->elsewhere) == CSYNC_ENOMEM)
        return cs_fail_nomem(err);
    return CSYNC_OK;
}

static int carry_out(csync_url *u, const char *why, cs_response *out, csync_error *err)
{
    CURLMcode added = u->curl->curl_multi_add_handle(u->multi, u->easy);
    CURLcode code = CURLE_OK;
    int rc;

    if (added != CURLM_OK)
        return broken(u, added, err);
    rc = run(u, &code, err);
    if (rc == CSYNC_OK && code != CURLE_OK)
        rc = explain(u, code, why, out, err);
    else if (rc == CSYNC_OK && !out->is_headed) /* to libcurl that is a response without a body */
        rc = cs_fail(err, CSYNC_ENET, "the connection ended in the middle of an answer");
    if (rc == CSYNC_OK)
        rc = note_place(u, out, err);
    u->curl->curl_multi_remove_handle(u->multi, u->easy);
    return rc;
}

/* Why it cannot be told what to do. */
static int untold(csync_url *u, CURLcode code, csync_error *err)
{
    return code == CURLE_OUT_OF_MEMORY
               ? cs_fail_nomem(err)
               : cs_fail(err, CSYNC_EUNSUPPORTED, "this libcurl lacks what is needed: %s",
                         u->curl->curl_easy_strerror(code));
}

int cs_transfer(csync_url *u, const cs_question *question, cs_response *out, csync_error *err)
{
    char why[CURL_ERROR_SIZE] = "";
    setup s = {u, NULL, CURLE_OK};
    hush h;
    int rc;

    hush_begin(&h);
    out->body.max = (size_t)u->options.max_answer;
    set_all(&s, question, out, why);
    rc = s.code == CURLE_OK ? carry_out(u, why, out, err) : untold(u, s.code, err);
    u->curl->curl_easy_reset(u->easy); /* what it points to ends here; connections stay */
    u->curl->curl_slist_free_all(s.headers);
    hush_end(&h);
    return rc;
}

int cs_transfer_wait(csync_url *u, int64_t ms, csync_error *err)
{
    int64_t end = cs_monotonic_ms() + ms, left = ms;
    int rc = cancelled(u, err);

    while (rc == CSYNC_OK && left > 0) {
        CURLMcode failed = u->curl->curl_multi_poll(u->multi, NULL, 0,
                                                    (int)(left < WAIT_MAX ? left : WAIT_MAX), NULL);

        rc = failed == CURLM_OK ? cancelled(u, err) : broken(u, failed, err);
        left = end - cs_monotonic_ms();
    }
    return rc;
}
