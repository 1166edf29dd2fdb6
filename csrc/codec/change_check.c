/* change_check.c - a change from outside, checked before it enters a batch. */
#include <string.h>

#include "codec/row.h"
#include "codec/value.h"
#include "model/change.h"

static int missing(csync_error *err, const char *field)
{
    return cs_fail(err, CSYNC_EINVAL, "%s of the change is missing", field);
}

static int check_presence(const csync_change *c, csync_error *err)
{
    if (!cs_operation_name(c->operation))
        return cs_fail(err, CSYNC_EINVAL, "%d is no operation", c->operation);
    if (!c->table || !*c->table)
        return missing(err, "table");
    if (!c->pk)
        return missing(err, "pk");
    if (!c->origin)
        return missing(err, "origin");
    if (!c->timestamp)
        return missing(err, "timestamp");
    if (!c->payload && c->operation != CSYNC_DELETE)
        return cs_fail(err, CSYNC_EINVAL, "an %s needs a payload", cs_operation_name(c->operation));
    return CSYNC_OK;
}

static int check_object(const char *field, const char *json, size_t min_members, csync_error *err)
{
    cs_scan s;
    int rc;

    cs_scan_init(&s, json, strlen(json));
    rc = cs_row_scan(&s, min_members);
    if (rc == CSYNC_ENOMEM)
        return cs_fail_nomem(err);
    return rc == CSYNC_OK ? CSYNC_OK : cs_scan_fail(&s, err, field);
}

int cs_batch_add(csync_batch *batch, const csync_change *change, csync_error *err)
{
    csync_change copy = *change;
    char text[CS_STAMP_SIZE];
    cs_stamp base;
    int64_t ms;
    int rc = check_presence(change, err);

    if (rc != CSYNC_OK)
        return rc;
    if (change->version < 0 || change->seq < 0)
        return cs_fail(err, CSYNC_EINVAL, "version and seq of a change must not be negative");
    if (!cs_utf8_valid(change->table, strlen(change->table)))
        return cs_fail(err, CSYNC_EINVAL, "the table name of the change is not UTF-8");
    if (change->base && cs_stamp_parse(change->base, &base, text) != 0)
        return cs_fail(err, CSYNC_EINVAL, "base \"%.60s\" of the change is no stamp", change->base);
    if (change->operation == CSYNC_DELETE)
        copy.payload = NULL;
    rc = cs_origin_check(change->origin, err);
    if (rc == CSYNC_OK)
        rc = check_object("pk", change->pk, 1, err);
    if (rc == CSYNC_OK && copy.payload)
        rc = check_object("payload", copy.payload, 0, err);
    if (rc != CSYNC_OK)
        return rc;
    if (cs_time_parse(change->timestamp, strlen(change->timestamp), &ms) != 0)
        return cs_fail(err, CSYNC_EINVAL, "timestamp \"%.40s\" is no RFC 3339 time from 1970 to 9999",
                       change->timestamp);
    return cs_batch_append(batch, &copy, ms, err);
}
