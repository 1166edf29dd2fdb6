/* epoch.c - the text that travels with a position. */
#include "model/epoch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"

enum { MARK_DIGITS = 8 };
static const char hex[] = "0123456789abcdef";

int cs_epoch_new_id(char out[CS_EPOCH_ID_SIZE], csync_error *err)
{
    char uuid[CS_UUID_SIZE];
    size_t n = 0;
    int rc = cs_uuid4(uuid, err);

    for (size_t i = 0; rc == CSYNC_OK && n < CS_EPOCH_ID_SIZE - 1; i++)
        if (uuid[i] != '-')
            out[n++] = uuid[i];
    out[n] = 0;
    return rc;
}

static uint32_t add_text(uint32_t sum, const char *text)
{
    for (; text && *text; text++)
        sum = (sum ^ (unsigned char)*text) * 16777619u; /* FNV-1a */
    return sum * 16777619u;
}

uint32_t cs_epoch_mark(const char *table, const char *pk, const char *operation, const char *timestamp)
{
    uint32_t sum = add_text(add_text(2166136261u, table), pk);

    sum = add_text(add_text(sum, operation), timestamp);
    return sum ? sum : 1;
}

void cs_epoch_format(const cs_epoch *epoch, char out[CS_EPOCH_SIZE])
{
    int n =
        snprintf(out, CS_EPOCH_SIZE, "%s.%lld.%08x", epoch->id, (long long)epoch->asof, epoch->mark);

    if (epoch->scope)
        snprintf(out + n, CS_EPOCH_SIZE - (size_t)n, ".%08x", epoch->scope);
}

/* Eight hex digits; NULL: there are none. */
static const char *parse_mark(const char *text, uint32_t *out)
{
    if (strspn(text, hex) != MARK_DIGITS)
        return NULL;
    *out = (uint32_t)strtoul(text, NULL, 16);
    return text + MARK_DIGITS;
}

int cs_epoch_parse(const char *text, cs_epoch *out)
{
    size_t n = strspn(text, hex);
    char *end;

    if (n != CS_EPOCH_ID_SIZE - 1 || text[n] != '.' || text[n + 1] < '0' || text[n + 1] > '9')
        return -1;
    memcpy(out->id, text, n);
    out->id[n] = 0;
    out->asof = strtoll(text + n + 1, &end, 10);
    text = *end == '.' ? parse_mark(end + 1, &out->mark) : NULL;
    out->scope = 0;
    if (text && *text == '.')
        text = parse_mark(text + 1, &out->scope);
    return text && !*text ? 0 : -1;
}

uint32_t cs_position_scope(const cs_position *position)
{
    cs_epoch epoch;

    return cs_epoch_parse(position->epoch, &epoch) == 0 ? epoch.scope : 0;
}

void cs_position_set_scope(cs_position *position, uint32_t mark)
{
    cs_epoch epoch;

    if (cs_epoch_parse(position->epoch, &epoch) != 0)
        return;
    epoch.scope = mark;
    cs_epoch_format(&epoch, position->epoch);
}
