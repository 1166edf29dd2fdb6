/* spelling.c - whether PostgreSQL has taken a value as it was given.
 *
 * A column may make another value of what it takes (rounded to its scale, cut, without its zone): that is refused.
 * Or it holds the same value and spells it otherwise ('2020-1-1' is 2020-01-01): then the row as PostgreSQL spells it
 * becomes a change of this replica, so that all end alike. Where csync cannot tell the two apart, it is refused. */
#include <string.h>

#include "backend/postgres/postgres.h"
#include "codec/canonical.h"
#include "codec/number.h"

enum verdict { AS_GIVEN, RESPELLED, ANOTHER };

static int same_value(const cs_value *a, const cs_value *b)
{
    cs_buf x = {0}, y = {0};
    int same;

    cs_canonical_value(&x, a);
    cs_canonical_value(&y, b);
    same = !x.failed && !y.failed && x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
    cs_buf_free(&x);
    cs_buf_free(&y);
    return same;
}

/* A double of many digits may come back from a numeric column as an integer. */
static int same_double(const cs_value *a, const cs_value *b)
{
    return b->type == CS_REAL && (a->type == CS_INT || a->type == CS_NUMBER) &&
           cs_value_real(a) == cs_value_real(b);
}

/* Two JSON texts of one meaning: members in another order, other spaces, 1.0 for 1. A name that is there twice has
 * no canonical form, and jsonb would drop one. */
static int same_json(const char *a, size_t a_len, const char *b, size_t b_len)
{
    csync_error ignored = CSYNC_ERROR_INIT;
    int order = 1;

    return cs_canonical_order(a, a_len, b, b_len, &order, &ignored) == CSYNC_OK && order == 0;
}

static int same_decimal(const cs_value *given, const cs_value *held)
{
    cs_buf text = {0};
    int same;

    if (given->type == CS_INT)
        cs_buf_put_int(&text, given->integer);
    else if (given->type == CS_TEXT || given->type == CS_NUMBER || given->type == CS_REAL)
        cs_buf_put(&text, given->text ? given->text : "", given->text ? given->len : 0);
    same = !text.failed && cs_same_decimal(text.data, text.len, held->text, held->len);
    cs_buf_free(&text);
    return same;
}

static size_t hex_digits(const char *text, size_t len, char out[33])
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '-' || c == '{' || c == '}')
            continue;
        if (n == 32)
            return 0;
        out[n++] = (char)(c >= 'A' && c <= 'F' ? c + 'a' - 'A' : c);
    }
    return n;
}

static int same_uuid(const cs_value *given, const cs_value *held)
{
    char x[33], y[33];

    return hex_digits(given->text, given->len, x) == 32 &&
           hex_digits(held->text, held->len, y) == 32 && memcmp(x, y, 32) == 0;
}

/* ---- dates and times ---- */

/* `least` to `most` digits at *p. */
static int digits(const char **p, const char *end, int least, int most)
{
    int n = 0;

    for (; *p < end && n < most && **p >= '0' && **p <= '9'; n++)
        (*p)++;
    return n >= least && (*p == end || **p < '0' || **p > '9');
}

static int one_of(const char **p, const char *end, const char *set)
{
    return *p < end && **p && strchr(set, **p) ? (*p)++, 1 : 0;
}

/* Of a year with fewer digits PostgreSQL guesses the century. */
static int is_date(const char **p, const char *end)
{
    return digits(p, end, 4, 6) && one_of(p, end, "-") && digits(p, end, 1, 2) &&
           one_of(p, end, "-") && digits(p, end, 1, 2);
}

/* *fraction to *fraction_end: digits of the seconds' fraction without the zeros at its end. */
static int is_time(const char **p, const char *end, const char **fraction, const char **fraction_end)
{
    *fraction = *fraction_end = *p;
    if (!digits(p, end, 1, 2) || !one_of(p, end, ":") || !digits(p, end, 2, 2))
        return 0;
    if (!one_of(p, end, ":"))
        return 1;
    if (!digits(p, end, 2, 2))
        return 0;
    if (!one_of(p, end, "."))
        return 1;
    *fraction = *p;
    if (!digits(p, end, 1, 30))
        return 0;
    for (*fraction_end = *p; *fraction_end > *fraction && (*fraction_end)[-1] == '0';)
        (*fraction_end)--;
    return 1;
}

static int is_zone(const char **p, const char *end)
{
    if (*p == end || one_of(p, end, "Z"))
        return 1;
    if (!one_of(p, end, "+-") || !digits(p, end, 2, 4))
        return 0;
    return *p == end || (one_of(p, end, ":") && digits(p, end, 2, 2));
}

/* Reads what `kind` holds in full: a column cuts off what it has no room for, as the time in a date. */
static int read_moment(enum pg_kind kind, const cs_value *v, const char **fraction, size_t *len)
{
    const char *p = v->text, *end = v->text + v->len, *fraction_end = p;

    *fraction = p;
    if (kind != PG_TIME && !is_date(&p, end))
        return 0;
    if (kind == PG_TIMESTAMP || kind == PG_TIMESTAMPTZ)
        if (!one_of(&p, end, " T"))
            return 0;
    if (kind != PG_DATE && !is_time(&p, end, fraction, &fraction_end))
        return 0;
    *len = kind == PG_DATE ? 0 : (size_t)(fraction_end - *fraction);
    return (kind != PG_TIMESTAMPTZ || is_zone(&p, end)) && p == end;
}

/* The fraction tells whether it was rounded. */
static int same_moment(enum pg_kind kind, const cs_value *given, const cs_value *held)
{
    const char *x, *y;
    size_t x_len, y_len;

    return read_moment(kind, given, &x, &x_len) && read_moment(kind, held, &y, &y_len) &&
           x_len == y_len && memcmp(x, y, x_len) == 0;
}

/* `count` digits below `limit`, after `lead` if there is one. */
static int is_part(const char **p, const char *end, char lead, int count, int limit)
{
    int n = 0;

    if (lead && (*p == end || *(*p)++ != lead))
        return 0;
    for (int i = 0; i < count; i++) {
        if (*p == end || **p < '0' || **p > '9')
            return 0;
        n = 10 * n + *(*p)++ - '0';
    }
    return n < limit;
}

/* PostgreSQL writes no zeros at the end of the fraction. Hour 24 and second 60 are other times. */
static int is_own_time(const char **p, const char *end, char lead)
{
    const char *point;

    if (!is_part(p, end, lead, 2, 24) || !is_part(p, end, ':', 2, 60) || !is_part(p, end, ':', 2, 60))
        return 0;
    if (*p == end || **p != '.')
        return 1;
    point = (*p)++;
    return digits(p, end, 1, 6) && *p > point && (*p)[-1] != '0';
}

int pg_is_own_spelling(enum pg_kind kind, const cs_value *v)
{
    const char *p = v->text, *end = v->text + v->len;

    if (kind == PG_UUID)
        return pg_is_uuid(v);
    if (!is_part(&p, end, 0, 4, 10000) || !is_part(&p, end, '-', 2, 13) ||
        !is_part(&p, end, '-', 2, 32))
        return 0;
    if (kind == PG_TIMESTAMPTZ)
        return is_own_time(&p, end, 'T') && p + 1 == end && *p == 'Z';
    return (kind == PG_DATE || (kind == PG_TIMESTAMP && is_own_time(&p, end, ' '))) && p == end;
}

/* ---- rows and keys ---- */

static enum verdict judge(enum pg_kind kind, const cs_value *given, const cs_value *held)
{
    int is_text = given->type == CS_TEXT && held->type == CS_TEXT, same = 0;

    if (same_value(held, given) || same_double(held, given))
        return AS_GIVEN;
    if (given->type == CS_JSON && held->type == CS_TEXT) /* nested: here it is text that holds JSON */
        return same_json(given->text, given->len, held->text, held->len) ? RESPELLED : ANOTHER;
    if (kind == PG_WIDE)
        same = held->type == CS_TEXT && same_decimal(given, held);
    else if (is_text && kind == PG_JSONB)
        same = same_json(given->text, given->len, held->text, held->len);
    else if (is_text && kind == PG_UUID)
        same = same_uuid(given, held);
    else if (is_text && kind >= PG_TIMESTAMPTZ)
        same = same_moment(kind, given, held);
    return same ? RESPELLED : ANOTHER;
}

int pg_check_row(cs_pg *b, const cs_table *t, const char *row, int *respelled, const char **reason,
                 csync_error *err)
{
    const pg_table *p = t->prepared;
    cs_row reader = {.state = 0};
    const char *name;
    cs_value held;
    size_t len;
    int rc = cs_row_open(&reader, row, strlen(row), err);

    while (rc == CSYNC_OK && (rc = cs_row_next(&reader, &name, &len, &held, err)) == 1) {
        const cs_column *c = cs_table_column(t, name, len);
        size_t at = c ? (size_t)(c - t->columns) : 0;
        enum verdict verdict =
            c && b->present[at] ? judge(p->kinds[at], &b->cells[at], &held) : AS_GIVEN;

        rc = CSYNC_OK;
        *respelled |= verdict == RESPELLED;
        if (verdict != ANOTHER || *reason)
            continue;
        *reason = "type";
        (void)cs_fail(err, CSYNC_EDB,
                      held.type == CS_TEXT ? "column \"%.40s\" (%.40s) would hold '%.*s'"
                                           : "column \"%.40s\" (%.40s) would hold another value",
                      c->name, c->type, held.type == CS_TEXT && held.len < 60 ? (int)held.len : 60,
                      held.type == CS_TEXT ? held.text : "");
    }
    cs_row_close(&reader);
    return rc;
}

/* A key that is spelled otherwise would be another row's on every other replica. */
int pg_check_key(cs_pg *b, const cs_table *t, const char **reason, csync_error *err)
{
    cs_row reader = {.state = 0};
    const char *name;
    cs_value held;
    size_t len;
    int rc = cs_row_open(&reader, b->pk.data, b->pk.len, err);

    while (rc == CSYNC_OK && (rc = cs_row_next(&reader, &name, &len, &held, err)) == 1) {
        const cs_column *c = cs_table_column(t, name, len);

        rc = CSYNC_OK;
        if (c && c->key && !same_value(&held, &b->key[c->key - 1]) &&
            !same_double(&held, &b->key[c->key - 1]))
            *reason = "type";
    }
    cs_row_close(&reader);
    return rc;
}
