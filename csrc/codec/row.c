/* row.c - a row's JSON object, member by member. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "codec/hex.h"
#include "codec/names.h"
#include "codec/row.h"

enum { CLOSED, AT_FIRST, AT_NEXT, ENDED };

static int row_fail(const cs_scan *s, csync_error *err)
{
    return s->fault ? cs_scan_fail(s, err, "row JSON") : cs_fail_nomem(err);
}

int cs_row_open(cs_row *row, const char *json, size_t len, csync_error *err)
{
    row->scratch_used = 0;
    row->state = CLOSED;
    cs_scan_init(&row->scan, json, len);
    row->scan.any_bytes = row->any_bytes;
    if (cs_scan_expect(&row->scan, '{', "a JSON object is needed here") != CSYNC_OK)
        return row_fail(&row->scan, err);
    row->state = AT_FIRST;
    return CSYNC_OK;
}

/* All that is decoded or kept of a row is shorter than its text, so one piece of that size does. */
static char *scratch_room(cs_row *row, size_t len)
{
    size_t size = (size_t)(row->scan.end - row->scan.start) + 1;

    if (row->scratch_cap < size && row->scratch_used == 0) {
        cs_free(row->scratch);
        row->scratch = cs_malloc(size);
        row->scratch_cap = row->scratch ? size : 0;
    }
    return len <= row->scratch_cap - row->scratch_used ? row->scratch + row->scratch_used : NULL;
}

static int decode(cs_row *row, const cs_token *token, const char **text, size_t *len)
{
    char *room;

    *text = token->text;
    *len = token->len;
    if (!token->has_escape)
        return CSYNC_OK;
    room = scratch_room(row, token->len);
    if (!room)
        return CSYNC_ENOMEM;
    *text = room;
    *len = cs_scan_decode(room, token->text, token->len);
    row->scratch_used += *len;
    return CSYNC_OK;
}

/* Only an escape can bring a NUL in. */
static int name_fault(cs_scan *s, const cs_token *token, const char *text, size_t len)
{
    if (len == 0)
        return cs_scan_fault(s, "a name is empty");
    if (token->has_escape && memchr(text, 0, len))
        return cs_scan_fault(s, "a name holds a NUL");
    return CSYNC_OK;
}

/* {"$x":"TEXT"} at p, and nothing else in it: 1, and `p` is behind it. */
static int scan_tagged(cs_scan *s, char *tag, cs_token *text)
{
    cs_scan at = *s;
    cs_token name;

    at.p++;
    if (cs_scan_peek(&at) != '"' || cs_scan_name(&at, &name) != CSYNC_OK)
        return 0;
    if (name.len != 2 || name.text[0] != '$' || cs_scan_peek(&at) != '"')
        return 0;
    if (cs_scan_string(&at, text) != CSYNC_OK || text->has_escape || cs_scan_peek(&at) != '}')
        return 0;
    *tag = name.text[1];
    at.p++;
    *s = at;
    return 1;
}

static int read_hex(cs_row *row, const cs_token *hex, enum cs_type type, cs_value *value)
{
    char *room = scratch_room(row, hex->len / 2);

    if (!room)
        return CSYNC_ENOMEM;
    if (cs_hex_decode(room, hex->text, hex->len) != 0)
        return CSYNC_EINVAL;
    value->type = type;
    value->text = room;
    value->len = hex->len / 2;
    row->scratch_used += value->len;
    return CSYNC_OK;
}

static int read_nested(cs_row *row, cs_value *value)
{
    cs_scan before = row->scan;
    cs_token text;
    char tag;
    int rc = CSYNC_EINVAL;

    if (*row->scan.p == '{' && scan_tagged(&row->scan, &tag, &text)) {
        if (tag == 'b' || tag == 't')
            rc = read_hex(row, &text, tag == 'b' ? CS_BLOB : CS_TEXT, value);
        if (tag == 'f' && text.len == 3 && memcmp(text.text, "NaN", 3) == 0) {
            value->type = CS_REAL;
            value->real = NAN;
            rc = CSYNC_OK;
        }
        if (rc != CSYNC_EINVAL)
            return rc;
        row->scan = before;
    }
    rc = cs_scan_value(&row->scan, 1);
    value->type = CS_JSON;
    value->text = before.p;
    value->len = (size_t)(row->scan.p - before.p);
    return rc;
}

static int read_number(cs_row *row, cs_value *value)
{
    cs_token token;
    int rc = cs_scan_number(&row->scan, &token);

    if (rc != CSYNC_OK)
        return rc;
    if (token.is_integer && cs_int_parse(token.text, token.len, &value->integer) == 0) {
        value->type = CS_INT;
        return CSYNC_OK;
    }
    value->type = token.is_integer ? CS_NUMBER : CS_REAL;
    value->text = token.text;
    value->len = token.len;
    return CSYNC_OK;
}

static int read_bool(cs_row *row, cs_value *value)
{
    value->type = CS_BOOL;
    value->integer = *row->scan.p == 't';
    return cs_scan_word(&row->scan, value->integer ? "true" : "false");
}

static int read_value(cs_row *row, cs_value *value)
{
    cs_token token;
    int rc;

    memset(value, 0, sizeof *value);
    switch (row->scan.p < row->scan.end ? *row->scan.p : 0) {
    case '"':
        rc = cs_scan_string(&row->scan, &token);
        value->type = CS_TEXT;
        return rc == CSYNC_OK ? decode(row, &token, &value->text, &value->len) : rc;
    case '{':
    case '[':
        return read_nested(row, value);
    case 't':
    case 'f':
        return read_bool(row, value);
    case 'n':
        return cs_scan_word(&row->scan, "null");
    default:
        return read_number(row, value);
    }
}

static int read_member(cs_row *row, const char **name, size_t *len, cs_value *value)
{
    cs_token token;
    int rc = cs_scan_name(&row->scan, &token);

    if (rc == CSYNC_OK)
        rc = decode(row, &token, name, len);
    if (rc == CSYNC_OK)
        rc = name_fault(&row->scan, &token, *name, *len);
    return rc == CSYNC_OK ? read_value(row, value) : rc;
}

int cs_row_next(cs_row *row, const char **name, size_t *name_len, cs_value *value, csync_error *err)
{
    cs_scan *s = &row->scan;
    int rc = 1;

    *name = NULL;
    *name_len = 0;
    if (row->state == ENDED)
        return 0;
    if (row->state == CLOSED)
        return cs_fail(err, CSYNC_EMISUSE, "no row is open");
    if (row->state == AT_NEXT) {
        rc = cs_scan_next(s, '}');
    } else if (cs_scan_peek(s) == '}') {
        s->p++;
        rc = 0;
    }
    row->state = CLOSED; /* until all went well */
    if (rc == 1)
        rc = read_member(row, name, name_len, value) == CSYNC_OK ? 1 : -1;
    else if (rc == 0)
        rc = cs_scan_finish(s);
    if (rc < 0)
        return row_fail(s, err);
    row->state = rc == 1 ? AT_NEXT : ENDED;
    return rc;
}

void cs_row_close(cs_row *row)
{
    cs_free(row->scratch);
    row->scratch = NULL;
    row->scratch_cap = row->scratch_used = 0;
    row->state = CLOSED;
}

/* ---- Checking a whole row ------------------------------------------------------------------------- */

/* The name, decoded if it must be; what it borrows stays until cs_row_close. */
static int check_name(cs_row *row, cs_names *names)
{
    cs_token token;
    const char *text;
    size_t len;
    int rc = cs_scan_name(&row->scan, &token);

    if (rc == CSYNC_OK)
        rc = decode(row, &token, &text, &len);
    if (rc == CSYNC_OK)
        rc = name_fault(&row->scan, &token, text, len);
    if (rc == CSYNC_OK)
        rc = cs_names_add(names, text, len);
    return rc == 1 ? cs_scan_fault(&row->scan, "a name is there twice") : rc;
}

static int check_members(cs_row *row, cs_names *names, size_t min_members)
{
    cs_scan *s = &row->scan;
    int more = cs_scan_peek(s) != '}';

    if (!more)
        s->p++;
    while (more == 1) {
        more = check_name(row, names);
        if (more == CSYNC_OK)
            more = cs_scan_value(s, 1);
        if (more == CSYNC_OK)
            more = cs_scan_next(s, '}');
    }
    if (more == CSYNC_OK)
        more = cs_scan_finish(s);
    if (more == CSYNC_OK && names->count < min_members)
        return cs_scan_fault(s, "the object is empty");
    return more;
}

int cs_row_scan(cs_scan *s, size_t min_members)
{
    cs_row row = {.scan = *s};
    cs_names names;
    int rc, is_repeated;

    cs_names_init(&names);
    rc = cs_scan_expect(&row.scan, '{', "a JSON object is needed here");
    if (rc == CSYNC_OK)
        rc = check_members(&row, &names, min_members);
    is_repeated = cs_names_finish(&names);
    if (rc == CSYNC_OK && is_repeated)
        rc = cs_scan_fault(&row.scan, "a name is there twice");
    *s = row.scan;
    cs_row_close(&row);
    return rc;
}

int cs_row_check(const char *json, size_t len, size_t min_members, csync_error *err)
{
    cs_scan s;
    int rc;

    cs_scan_init(&s, json, len);
    rc = cs_row_scan(&s, min_members);
    return rc == CSYNC_ENOMEM ? cs_fail_nomem(err) : rc != CSYNC_OK ? row_fail(&s, err) : CSYNC_OK;
}
