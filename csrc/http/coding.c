/* coding.c - content codings between a route and whoever asks it: bodies come and answers go in zstd or gzip. */
#include "codec/coding.h"

#include <string.h>
#include <strings.h>

#include "http/exchange.h"

enum { SMALL = 1024, WHOLE = 1000, UNNAMED = -1, LAST_RESORT = 1 };

/* ---- what the client takes (RFC 9110, 12.5.3) ---- */

typedef struct taste {
    int weight[CS_CODINGS], plain, others; /* twice thousandths; UNNAMED */
} taste;

/* "q=0.5" -> 1000. -1: it is none. */
static int weight_of(const char *text, size_t len)
{
    int weight = 0, unit = WHOLE;

    if (len < 3 || (text[0] | 0x20) != 'q' || text[1] != '=' || text[2] < '0' || text[2] > '1' ||
        len > 7 || (len > 3 && text[3] != '.'))
        return -1;
    weight = (text[2] - '0') * WHOLE;
    for (size_t i = 4; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        unit /= 10;
        weight += (text[i] - '0') * unit;
    }
    return weight > WHOLE ? -1 : 2 * weight;
}

static size_t trimmed(const char *text, size_t len)
{
    while (len && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        len--;
    return len;
}

/* One element of the list. What is malformed counts as not said. */
static void add_taste(taste *t, const char *text, size_t len)
{
    size_t name_len = strcspn(text, ",; \t"), at = name_len;
    int weight = 2 * WHOLE, coding;

    at += strspn(text + at, " \t");
    if (at < len && text[at] == ';') {
        at += 1 + strspn(text + at + 1, " \t");
        weight = weight_of(text + at, trimmed(text + at, len - at));
    }
    if (weight < 0)
        return;
    coding = cs_coding_find(text, name_len);
    if (coding >= 0)
        t->weight[coding] = weight;
    else if (name_len == 8 && strncasecmp(text, "identity", 8) == 0)
        t->plain = weight;
    else if (name_len == 1 && *text == '*')
        t->others = weight;
}

static void read_taste(taste *t, const char *list)
{
    while (*list) {
        size_t len;

        list += strspn(list, ", \t");
        len = strcspn(list, ",");
        if (len)
            add_taste(t, list, len);
        list += len;
    }
}

/* The coding of the answer: -1 is none. *is_plain_fine: none is taken, too. */
static int choose(const cs_exchange *x, int *is_plain_fine)
{
    const csync_request *r = x->request;
    taste t = {.plain = UNNAMED, .others = UNNAMED};
    int best = -1, best_weight;

    for (int i = 0; i < CS_CODINGS; i++)
        t.weight[i] = UNNAMED;
    for (size_t i = 0; i < r->header_count; i++)
        if (strcasecmp(r->headers[i].name, "Accept-Encoding") == 0)
            read_taste(&t, r->headers[i].value);
    if (t.plain == UNNAMED)
        t.plain = t.others == UNNAMED ? LAST_RESORT : t.others;
    *is_plain_fine = t.plain > 0;
    best_weight = t.plain;
    for (int i = CS_CODINGS - 1; i >= 0; i--) { /* of equals the preferred one stays */
        int weight = t.weight[i] == UNNAMED ? t.others : t.weight[i];

        if (weight > 0 && weight >= best_weight && cs_coding_check(i, NULL) == CSYNC_OK) {
            best = i;
            best_weight = weight;
        }
    }
    return best;
}

/* ---- answers ---- */

/* What bodies may come in (RFC 9110, 12.5.3). */
static int announce(cs_exchange *x, csync_error *err)
{
    const char *here = cs_codings_here();

    return cs_reply_header(x->reply, "Accept-Encoding", *here ? here : "identity", err);
}

static int encode(cs_exchange *x, int coding, int is_plain_fine, csync_error *err)
{
    cs_reply *reply = x->reply;
    cs_buf coded = {0}, plain = reply->body;
    int rc = cs_reply_header(reply, "Vary", "Accept-Encoding", err);

    if (rc == CSYNC_OK)
        rc = announce(x, err);
    if (rc != CSYNC_OK || coding < 0 || (is_plain_fine && plain.len < SMALL))
        return rc;
    rc = cs_coding_encode(coding, plain.data, plain.len, &coded, err);
    if (rc != CSYNC_OK || (is_plain_fine && coded.len >= plain.len)) {
        cs_buf_free(&coded);
        return rc;
    }
    reply->body = coded;
    reply->pub.body = coded.data;
    reply->pub.body_length = coded.len;
    cs_buf_free(&plain);
    return cs_reply_header(reply, "Content-Encoding", cs_coding_names[coding], err);
}

/* ---- bodies ---- */

static int refuse(cs_exchange *x, int status, const char *type, const char *detail, csync_error *err)
{
    return cs_reply_problem(x->reply, status, type, detail, NULL, err);
}

/* The coding of the body: -1 is none, -2 is one that is not read here. */
static int coding_of(const csync_request *r)
{
    int coding = -1, found;

    for (size_t i = 0; i < r->header_count; i++) {
        const char *value = r->headers[i].value;

        if (strcasecmp(r->headers[i].name, "Content-Encoding") != 0 || !*value ||
            strcasecmp(value, "identity") == 0)
            continue;
        found = cs_coding_find(value, strlen(value));
        if (coding != -1 || found < 0 || cs_coding_check(found, NULL) != CSYNC_OK)
            return -2;
        coding = found;
    }
    return coding;
}

/* `plain` becomes the request without its coding. *refused 1: it cannot, and the reply says why. */
static int decode(cs_exchange *x, csync_request *plain, cs_buf *body, int *refused, csync_error *err)
{
    int coding = coding_of(plain), rc;

    *refused = coding == -2;
    if (coding == -2) {
        rc = announce(x, err);
        return rc == CSYNC_OK
                   ? refuse(x, 415, "content-encoding",
                            "Content-Encoding must be one that Accept-Encoding lists", err)
                   : rc;
    }
    if (coding == -1)
        return CSYNC_OK;
    rc = cs_coding_decode(coding, plain->body, plain->body_length, (size_t)x->api->options.max_body,
                          body, err);
    if (rc == CSYNC_EINVAL && body->failed) {
        *refused = 1;
        return refuse(x, 413, "too-large", "the body is larger than this server takes", err);
    }
    plain->body = body->data;
    plain->body_length = body->len;
    return rc;
}

int cs_exchange_answer(cs_exchange *x, const cs_route *route, csync_error *err)
{
    const csync_request *request = x->request;
    csync_request plain = *request;
    cs_buf body = {0};
    int is_plain_fine, refused = 0;
    int coding = choose(x, &is_plain_fine), rc = CSYNC_OK;

    if (coding < 0 && !is_plain_fine)
        return refuse(x, 406, "not-acceptable",
                      "Accept-Encoding takes no coding that there is here", err);
    if (strcmp(request->method, "POST") == 0)
        rc = decode(x, &plain, &body, &refused, err);
    x->request = &plain;
    if (rc == CSYNC_OK && !refused)
        rc = route->answer(x, err);
    x->request = request;
    cs_buf_free(&body);
    return rc == CSYNC_OK && !refused ? encode(x, coding, is_plain_fine, err) : rc;
}
