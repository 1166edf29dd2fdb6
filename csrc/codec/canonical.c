/* canonical.c - canonical JSON (RFC 8785). Written as it is read; when an object closes, its members are put
 * in order where they stand in the output. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/canonical.h"
#include "codec/number.h"
#include "codec/scan.h"

/* A member of an object that is still open. */
typedef struct member {
    const char *names; /* where the names are, set before sorting */
    size_t name, name_len; /* in `names` */
    size_t begin, end; /* in the output */
} member;

typedef struct frame {
    size_t begin; /* in the output, behind the brace */
    size_t member; /* index of the first member; an array has none */
    size_t names; /* where its names begin */
    int is_object;
} frame;

typedef struct canonical {
    cs_scan s;
    cs_buf *out;
    cs_buf names; /* decoded names of the open objects */
    cs_buf sorted;
    member *members;
    size_t count, cap;
    frame frames[CS_DEPTH_MAX];
    unsigned depth;
} canonical;

int cs_canonical_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t n = a_len < b_len ? a_len : b_len, i = 0;
    unsigned char x, y;

    while (i < n && a[i] == b[i])
        i++;
    if (i == n)
        return (a_len > b_len) - (a_len < b_len);
    x = (unsigned char)a[i];
    y = (unsigned char)b[i];
    /* beyond U+FFFF there are surrogates in UTF-16, which come before U+E000..U+FFFF */
    if (x >= 0xEE && y >= 0xEE && (x >= 0xF0) != (y >= 0xF0))
        return x >= 0xF0 ? -1 : 1;
    return x < y ? -1 : 1;
}

static int compare_members(const void *a, const void *b)
{
    const member *x = a, *y = b;

    return cs_canonical_compare(x->names + x->name, x->name_len, y->names + y->name, y->name_len);
}

/* 1: in order; 0: not; -1: a name is there twice (only found when in order). */
static int order_of(canonical *c, const frame *f)
{
    for (size_t i = f->member + 1; i < c->count; i++) {
        int order = compare_members(&c->members[i - 1], &c->members[i]);

        if (order >= 0)
            return order == 0 ? -1 : 0;
    }
    return 1;
}

static int rewrite(canonical *c, const frame *f)
{
    cs_buf_clear(&c->sorted);
    for (size_t i = f->member; i < c->count; i++) {
        const member *m = &c->members[i];

        if (i > f->member)
            cs_buf_putc(&c->sorted, ',');
        cs_buf_put(&c->sorted, c->out->data + m->begin, m->end - m->begin);
    }
    if (c->sorted.failed)
        return c->sorted.failed;
    memcpy(c->out->data + f->begin, c->sorted.data, c->sorted.len);
    return CSYNC_OK;
}

static int sort_members(canonical *c, const frame *f)
{
    int order, rc = CSYNC_OK;

    for (size_t i = f->member; i < c->count; i++)
        c->members[i].names = c->names.data;
    order = order_of(c, f);
    if (order == 0) {
        qsort(c->members + f->member, c->count - f->member, sizeof *c->members, compare_members);
        order = order_of(c, f);
        rc = order == 1 ? rewrite(c, f) : CSYNC_OK;
    }
    return order < 0 ? cs_scan_fault(&c->s, "a name is there twice") : rc;
}

static int put_string(canonical *c, const cs_token *token, const char **text, size_t *len)
{
    size_t before = c->names.len;
    char *w = cs_buf_reserve(&c->names, token->len);

    if (!w)
        return c->names.failed;
    *len = cs_scan_decode(w, token->text, token->len);
    *text = w;
    c->names.len = before + *len;
    cs_put_string(c->out, w, *len);
    return c->out->failed;
}

/* The name at p, up to its value. */
static int open_member(canonical *c)
{
    cs_token token;
    const char *text;
    member *m;
    int rc = cs_scan_name(&c->s, &token);

    if (rc != CSYNC_OK)
        return rc;
    if (cs_grow(&c->members, &c->cap, c->count + 1, sizeof *c->members) != CSYNC_OK)
        return CSYNC_ENOMEM;
    m = &c->members[c->count++];
    m->name = c->names.len;
    m->begin = c->out->len;
    rc = put_string(c, &token, &text, &m->name_len);
    cs_buf_putc(c->out, ':');
    return rc;
}

static int put_scalar(canonical *c)
{
    const char *from = c->s.p, *text;
    size_t len, names = c->names.len;
    cs_token token;
    int rc;

    if (*from == '"') {
        rc = cs_scan_string(&c->s, &token);
        rc = rc == CSYNC_OK ? put_string(c, &token, &text, &len) : rc;
        c->names.len = names;
        return rc;
    }
    rc = cs_scan_value(&c->s, c->depth);
    if (rc != CSYNC_OK)
        return rc;
    if (*from == '-' || (*from >= '0' && *from <= '9'))
        cs_put_number_canonical(c->out, from, (size_t)(c->s.p - from));
    else
        cs_buf_put(c->out, from, (size_t)(c->s.p - from));
    return c->out->failed;
}

static void close_frame(canonical *c)
{
    frame *f = &c->frames[--c->depth];

    cs_buf_putc(c->out, f->is_object ? '}' : ']');
    c->count = f->member;
    c->names.len = f->names;
}

/* 1: its first item is at p; 0: it was empty. */
static int open_frame(canonical *c)
{
    frame *f;
    int rc;

    if (c->depth == CS_DEPTH_MAX)
        return cs_scan_fault(&c->s, "nested too deep");
    f = &c->frames[c->depth++];
    f->is_object = *c->s.p++ == '{';
    cs_buf_putc(c->out, f->is_object ? '{' : '[');
    f->begin = c->out->len;
    f->member = c->count;
    f->names = c->names.len;
    if (cs_scan_peek(&c->s) == (f->is_object ? '}' : ']')) {
        c->s.p++;
        close_frame(c);
        return 0;
    }
    rc = f->is_object ? open_member(c) : CSYNC_OK;
    return rc == CSYNC_OK ? 1 : rc;
}

/* After a value: closes what ends here. 1: the next value is at p; 0: all is closed. */
static int after_value(canonical *c)
{
    while (c->depth) {
        frame *f = &c->frames[c->depth - 1];
        int more = cs_scan_next(&c->s, f->is_object ? '}' : ']'), rc = CSYNC_OK;

        if (more < 0)
            return more;
        if (f->is_object)
            c->members[c->count - 1].end = c->out->len;
        if (more) {
            cs_buf_putc(c->out, ',');
            rc = f->is_object ? open_member(c) : CSYNC_OK;
            return rc == CSYNC_OK ? 1 : rc;
        }
        if (f->is_object && c->out->failed == CSYNC_OK)
            rc = sort_members(c, f);
        if (rc != CSYNC_OK)
            return rc;
        close_frame(c);
    }
    return 0;
}

static int put_document(canonical *c)
{
    int more;

    cs_scan_peek(&c->s);
    do {
        int is_open = c->s.p < c->s.end && (*c->s.p == '{' || *c->s.p == '[');

        if (c->s.p >= c->s.end)
            return cs_scan_fault(&c->s, "the text ends too early");
        more = is_open ? open_frame(c) : put_scalar(c);
        if (more == 0)
            more = after_value(c);
        if (c->out->failed)
            return c->out->failed;
    } while (more > 0);
    return more == CSYNC_OK ? cs_scan_finish(&c->s) : more;
}

/* CSYNC_OK, CSYNC_ENOMEM, or CSYNC_EINVAL with the fault in *s. */
static int canonical_into(cs_buf *out, const char *json, size_t len, cs_scan *s)
{
    canonical c;
    int rc;

    memset(&c, 0, offsetof(canonical, frames));
    c.depth = 0;
    c.out = out;
    cs_scan_init(&c.s, json, len);
    rc = put_document(&c);
    *s = c.s;
    cs_buf_free(&c.names);
    cs_buf_free(&c.sorted);
    cs_free(c.members);
    return rc;
}

int cs_canonical_json(cs_buf *out, const char *json, size_t len, csync_error *err)
{
    cs_scan s;
    int rc = canonical_into(out, json, len, &s);

    if (rc == CSYNC_OK)
        return CSYNC_OK;
    if (rc == CSYNC_EINVAL && s.fault)
        return cs_scan_fail(&s, err, "JSON");
    return rc == CSYNC_ENOMEM ? cs_fail_nomem(err) : cs_fail(err, rc, "the text is too large");
}

/* JSON that has no canonical form (a name twice, nested too deep) counts as it stands: a database may hold it. */
static void put_json(cs_buf *out, const cs_value *value)
{
    size_t before = out->len;
    cs_scan s;
    int rc;

    if (out->failed)
        return;
    rc = canonical_into(out, value->text, value->len, &s);
    if (rc == CSYNC_OK || out->failed)
        return;
    if (rc == CSYNC_ENOMEM) {
        out->failed = rc;
        return;
    }
    out->len = before;
    cs_buf_put(out, value->text, value->len);
}

void cs_canonical_value(cs_buf *out, const cs_value *value)
{
    switch (value->type) {
    case CS_BOOL:
        cs_buf_putc(out, value->integer ? '1' : '0');
        break;
    case CS_REAL:
        if (value->text)
            cs_put_number_canonical(out, value->text, value->len);
        else
            cs_put_number_es6(out, value->real);
        break;
    case CS_NUMBER:
        cs_put_number_canonical(out, value->text, value->len);
        break;
    case CS_JSON:
        put_json(out, value);
        break;
    default:
        cs_put_value(out, value);
        break;
    }
}

int cs_canonical_order(const char *a, size_t a_len, const char *b, size_t b_len, int *order,
                       csync_error *err)
{
    cs_buf x = {0}, y = {0};
    int rc = cs_canonical_json(&x, a, a_len, err);

    *order = 0;
    if (rc == CSYNC_OK)
        rc = cs_canonical_json(&y, b, b_len, err);
    if (rc == CSYNC_OK) {
        *order = memcmp(x.data, y.data, x.len < y.len ? x.len : y.len);
        if (*order == 0)
            *order = x.len < y.len ? -1 : x.len > y.len;
    }
    cs_buf_free(&x);
    cs_buf_free(&y);
    return rc;
}
