/* epoch.c - the text that travels with a position. */
#include "model/epoch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"

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
    snprintf(out, CS_EPOCH_SIZE, "%s.%lld.%08x", epoch->id, (long long)epoch->asof, epoch->mark);
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
    if (*end != '.' || strspn(end + 1, hex) != 8 || end[9] != 0)
        return -1;
    out->mark = (uint32_t)strtoul(end + 1, NULL, 16);
    return 0;
}
