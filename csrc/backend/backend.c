/* backend.c - what all backends share. */
#include "backend/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rules.h"
#include "base/text.h"
#include "base/uuid.h"

void cs_item_refuse(cs_item *item, int status, const char *reason, const char *message)
{
    cs_text_copy(item->message, sizeof item->message, message);
    item->status = status;
    item->reason = reason;
}

int cs_backend_made(const cs_backend *b, const csync_change *change)
{
    return strcmp(change->origin, b->origin) == 0 || cs_lineage_made(b->copied_from, change);
}

cs_table *cs_backend_table(const cs_backend *b, const char *name, size_t len)
{
    size_t low = 0, high = b->table_count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strncmp(b->tables[mid]->name, name, len);

        if (order == 0 && b->tables[mid]->name[len] != 0)
            order = 1;
        if (order == 0)
            return b->tables[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

int cs_batch_add_head(csync_batch *batch, const cs_item *item, const cs_head *head,
                      const char *payload, csync_error *err)
{
    char timestamp[CS_TIME_SIZE];
    csync_change out = {.struct_size = sizeof out};

    if (!head->found)
        return cs_fail(err, CSYNC_ENOTFOUND, "table \"%s\" has no row %.200s", item->table->name,
                       item->change->pub.pk);
    cs_time_format(head->stamp.ts, timestamp);
    out.version = head->version;
    out.operation = payload ? CSYNC_UPDATE : CSYNC_DELETE;
    out.table = item->table->name;
    out.pk = item->change->pub.pk;
    out.payload = payload;
    out.origin = head->stamp.origin;
    out.timestamp = timestamp;
    out.seq = head->stamp.seq;
    return cs_batch_add(batch, &out, err);
}

int cs_origin_settle(char stored[CSYNC_ORIGIN_SIZE], const char *wanted, int *fresh, csync_error *err)
{
    *fresh = !stored[0];
    if (!stored[0] && !wanted)
        return cs_uuid4(stored, err);
    if (!stored[0])
        memcpy(stored, wanted, strlen(wanted) + 1);
    else if (wanted && strcmp(wanted, stored) != 0)
        return cs_fail(err, CSYNC_EINVAL, "the database's origin is %s, not %s", stored, wanted);
    return CSYNC_OK;
}

int cs_item_settle(cs_item *item, const cs_head *head, cs_compare_content compare, void *ctx,
                   int *wins, csync_error *err)
{
    cs_stamp mine = cs_change_stamp(item->change);
    int deletes = item->change->pub.operation == CSYNC_DELETE, order = 0, rc = CSYNC_OK;

    *wins = 0;
    if (cs_stamp_compare(&mine, &head->stamp) != 0) {
        item->status = CSYNC_LOST;
        return CSYNC_OK;
    }
    if (deletes != head->deleted)
        order = deletes ? 1 : -1;
    else if (!deletes && !head->parked)
        rc = compare(ctx, item, head, &order, err);
    *wins = rc == CSYNC_OK && order > 0;
    item->status = *wins ? 0 : order < 0 ? CSYNC_LOST : CSYNC_DUPLICATE;
    return rc;
}

cs_verdict cs_position_judge(const cs_position *position, int same, int64_t asof,
                             const cs_floors *floors)
{
    if (!same)
        return CS_FORKED;
    if (floors->log && (position->version < floors->log || asof <= floors->log) && CS_RULE(LOG_FLOOR))
        return CS_TRIMMED;
    return CS_GOOD;
}

/* Nothing is lost, and the log leads on: so it says where it begins. */
int cs_backend_other_tables(const cs_backend *b, int64_t since, csync_error *err)
{
    if (cs_error_writable(err)) {
        err->version = 0;
        snprintf(err->actual, sizeof err->actual, "%lld", (long long)since);
        snprintf(err->expected, sizeof err->expected, "0");
    }
    return cs_fail(err, CSYNC_EFULLRESYNC,
                   "the log of replica %s was read for other tables than may be read now; a full "
                   "resync is needed",
                   b->origin);
}
