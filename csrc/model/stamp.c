/* stamp.c - the order of stamps, and their text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "model/change.h"
#include "model/stamp.h"

int cs_stamp_compare(const cs_stamp *a, const cs_stamp *b)
{
    int order;

    if (a->ts != b->ts)
        return a->ts < b->ts ? -1 : 1;
    order = strcmp(a->origin, b->origin); /* compares as unsigned char */
    if (order != 0)
        return order;
    return (a->seq > b->seq) - (a->seq < b->seq);
}

void cs_stamp_format(const cs_stamp *stamp, char out[CS_STAMP_SIZE])
{
    char time[CS_TIME_SIZE];

    cs_time_format(stamp->ts, time);
    snprintf(out, CS_STAMP_SIZE, "%s %.*s %lld", time, CS_ORIGIN_MAX, stamp->origin,
             (long long)stamp->seq);
}

static int parse_seq(const char *text, int64_t *out)
{
    char *end;

    *out = strtoll(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == 0 ? 0 : -1;
}

int cs_stamp_parse(const char *text, cs_stamp *out, char buffer[CS_STAMP_SIZE])
{
    size_t len = strnlen(text, CS_STAMP_SIZE);
    char *origin, *seq;

    if (len >= CS_STAMP_SIZE)
        return -1;
    memcpy(buffer, text, len + 1);
    origin = strchr(buffer, ' ');
    seq = origin ? strchr(origin + 1, ' ') : NULL;
    if (!seq)
        return -1;
    *origin++ = *seq++ = 0;
    out->origin = origin;
    if (cs_time_parse(buffer, strlen(buffer), &out->ts) != 0 || parse_seq(seq, &out->seq) != 0)
        return -1;
    return cs_origin_check(origin, NULL) == CSYNC_OK ? 0 : -1;
}
