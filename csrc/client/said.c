/* said.c - what a problem document (RFC 9457) or the state of a server says. */
#include "codec/wire_reader.h"
#include "client/url.h"

enum { DETAIL, CODE, EXPECTED, ACTUAL, ORIGIN, VERSION, FIELDS };
static const cs_field fields[FIELDS] = {{"\"detail\":", 9},    {"\"code\":", 7},
                                        {"\"expected\":", 11}, {"\"actual\":", 9},
                                        {"\"origin\":", 9},    {"\"version\":", 10}};

/* What is of another type counts as not said. */
static int read_text(cs_reader *r, const char **out)
{
    size_t len;

    if (cs_scan_peek(&r->s) != '"')
        return cs_scan_value(&r->s, 1);
    *out = cs_reader_text(r, &len);
    return *out ? CSYNC_OK : CSYNC_EINVAL;
}

static int read_version(cs_reader *r, int64_t *out)
{
    int c = cs_scan_peek(&r->s);

    return c >= '0' && c <= '9' ? cs_reader_count(r, out) : cs_scan_value(&r->s, 1);
}

static int read_all(cs_reader *r, cs_said *out)
{
    const char **texts[] = {&out->detail, &out->code, &out->expected, &out->actual, &out->origin};
    int more, expected = 0;
    unsigned seen = 0;

    for (more = cs_reader_enter(r, '{'); more == 1; more = cs_reader_next(r, '}')) {
        int field = cs_reader_field(r, fields, FIELDS, &expected, &seen, 1), rc = CSYNC_OK;

        if (field == VERSION)
            rc = read_version(r, &out->version);
        else if (field != -1)
            rc = field == -2 ? CSYNC_EINVAL : read_text(r, texts[field]);
        if (rc != CSYNC_OK)
            return rc;
    }
    return more == 0 ? cs_scan_finish(&r->s) : more;
}

int cs_said_read(cs_said *out, const char *json, size_t len, csync_error *err)
{
    cs_reader r;
    int rc;

    *out = (cs_said){0};
    rc = csync_batch_new(&out->texts, err);
    if (rc == CSYNC_OK)
        rc = cs_reader_open(&r, out->texts, json, len, err);
    if (rc == CSYNC_OK && read_all(&r, out) != CSYNC_OK) {
        *out = (cs_said){.texts = out->texts};
        rc = r.has_no_memory ? cs_fail_nomem(err) : CSYNC_OK;
    }
    return rc;
}

void cs_said_free(cs_said *said)
{
    csync_batch_free(said->texts);
}
