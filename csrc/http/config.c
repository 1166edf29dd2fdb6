/* config.c - the server's options in a JSON file:
 * {"listen","databases":{NAME:URL},"tokens","tlsCert","tlsKey","behindProxy","origins":[],"maxBody","readers","queue",
 *  "maxConnections","maxPerAddress","maxStreams","rate","headerMs","bodyMs","idleMs"} */
#include "http/config.h"

#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "codec/wire_reader.h"
#include "http/file.h"

enum { FILE_MAX = 1 << 20, LIST_MAX = 256 };
enum { TEXT, FLAG, COUNT, COUNT64, RATE, DATABASES, ORIGINS };

#define AT(member) offsetof(csync_server_options, member)
static const struct {
    int kind;
    size_t at;
} targets[] = {
    {TEXT, AT(listen)},
    {TEXT, AT(tokens)},
    {TEXT, AT(tls_cert)},
    {TEXT, AT(tls_key)},
    {FLAG, AT(behind_proxy)},
    {COUNT64, AT(max_body)},
    {COUNT, AT(readers)},
    {COUNT, AT(queue)},
    {COUNT, AT(max_connections)},
    {COUNT, AT(max_per_address)},
    {COUNT, AT(max_streams)},
    {RATE, AT(rate)},
    {COUNT, AT(header_ms)},
    {COUNT, AT(body_ms)},
    {COUNT, AT(idle_ms)},
    {DATABASES, 0},
    {ORIGINS, 0},
};
enum { FIELDS = sizeof targets / sizeof *targets };
static const cs_field fields[FIELDS] = {
    {"\"listen\":", 9},         {"\"tokens\":", 9},       {"\"tlsCert\":", 10},
    {"\"tlsKey\":", 9},         {"\"behindProxy\":", 14}, {"\"maxBody\":", 10},
    {"\"readers\":", 10},       {"\"queue\":", 8},        {"\"maxConnections\":", 17},
    {"\"maxPerAddress\":", 16}, {"\"maxStreams\":", 13},  {"\"rate\":", 7},
    {"\"headerMs\":", 11},      {"\"bodyMs\":", 9},       {"\"idleMs\":", 9},
    {"\"databases\":", 12},     {"\"origins\":", 10},
};

/* What the caller's options say goes before what the file says. */
static int read_text(cs_reader *r, const char **target)
{
    size_t len;
    const char *text = cs_reader_text(r, &len);

    if (text && !*target)
        *target = text;
    return text ? CSYNC_OK : CSYNC_EINVAL;
}

static int read_flag(cs_reader *r, int *target)
{
    int is_true = cs_scan_peek(&r->s) == 't';

    *target |= is_true;
    return cs_scan_word(&r->s, is_true ? "true" : "false");
}

static int read_count(cs_reader *r, int *target)
{
    int64_t value = 0;
    int rc = cs_reader_count(r, &value);

    if (rc == CSYNC_OK && value > INT_MAX)
        rc = cs_scan_fault(&r->s, "the number is too large");
    if (rc == CSYNC_OK && !*target)
        *target = (int)value;
    return rc;
}

/* -1: there is no limit. */
static int read_rate(cs_reader *r, int *target)
{
    int rc;

    if (cs_scan_peek(&r->s) != '-')
        return read_count(r, target);
    rc = cs_scan_word(&r->s, "-1");
    if (rc == CSYNC_OK && !*target)
        *target = -1;
    return rc;
}

static int read_databases(cs_reader *r, csync_server_options *o)
{
    csync_served *list = cs_arena_alloc(&r->batch->arena, LIST_MAX * sizeof *list);
    size_t count = 0, len;
    int more;

    if (!list)
        return cs_reader_nomem(r);
    for (more = cs_reader_enter(r, '{'); more == 1; more = cs_reader_next(r, '}')) {
        if (count == LIST_MAX)
            return cs_scan_fault(&r->s, "there are more than 256 databases");
        list[count].name = cs_reader_text(r, &len);
        if (!list[count].name || cs_scan_expect(&r->s, ':', "a colon is missing") != CSYNC_OK)
            return CSYNC_EINVAL;
        (void)cs_scan_peek(&r->s);
        list[count].url = cs_reader_text(r, &len);
        if (!list[count++].url)
            return CSYNC_EINVAL;
    }
    if (!o->database_count) {
        o->databases = list;
        o->database_count = count;
    }
    return more;
}

static int read_origins(cs_reader *r, csync_server_options *o)
{
    const char **list = cs_arena_alloc(&r->batch->arena, LIST_MAX * sizeof *list);
    size_t count = 0, len;
    int more;

    if (!list)
        return cs_reader_nomem(r);
    for (more = cs_reader_enter(r, '['); more == 1; more = cs_reader_next(r, ']')) {
        if (count == LIST_MAX)
            return cs_scan_fault(&r->s, "there are more than 256 origins");
        list[count] = cs_reader_text(r, &len);
        if (!list[count++])
            return CSYNC_EINVAL;
    }
    if (!o->origin_count) {
        o->origins = list;
        o->origin_count = count;
    }
    return more;
}

static int read_field(cs_reader *r, int field, csync_server_options *o)
{
    char *target;

    if (field < 0)
        return CSYNC_EINVAL;
    target = (char *)o + targets[field].at;
    switch (targets[field].kind) {
    case TEXT:
        return read_text(r, (const char **)(void *)target);
    case FLAG:
        return read_flag(r, (int *)(void *)target);
    case COUNT:
        return read_count(r, (int *)(void *)target);
    case COUNT64:
        return o->max_body ? cs_scan_value(&r->s, 1) : cs_reader_count(r, &o->max_body);
    case RATE:
        return read_rate(r, (int *)(void *)target);
    case DATABASES:
        return read_databases(r, o);
    default:
        return read_origins(r, o);
    }
}

/* A member that is not known is a fault: it is more likely misspelt than meant for somebody else. */
static int read_all(cs_reader *r, csync_server_options *o)
{
    int more, expected = 0, rc;
    unsigned seen = 0;

    for (more = cs_reader_enter(r, '{'); more == 1; more = cs_reader_next(r, '}')) {
        int field = cs_reader_field(r, fields, FIELDS, &expected, &seen, 1);

        if (field == -1)
            return cs_scan_fault(&r->s, "there is no such option");
        rc = read_field(r, field, o);
        if (rc != CSYNC_OK)
            return rc;
    }
    return more == 0 ? cs_scan_finish(&r->s) : more;
}

int cs_config_load(csync_server_options *o, csync_batch **texts, csync_error *err)
{
    cs_buf content = {0};
    cs_reader r;
    int rc = csync_batch_new(texts, err);

    if (rc == CSYNC_OK)
        rc = cs_file_read(o->config, FILE_MAX, &content, err);
    if (rc == CSYNC_OK)
        rc = cs_reader_open(&r, *texts, content.data, content.len, err);
    if (rc == CSYNC_OK && (rc = read_all(&r, o)) != CSYNC_OK)
        rc = cs_reader_fail(&r, "configuration", err);
    cs_buf_free(&content);
    return rc;
}
