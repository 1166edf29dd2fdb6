/* change.h - changes and batches in memory. */
#ifndef CS_CHANGE_H
#define CS_CHANGE_H
#include <stddef.h>
#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "csync.h"
#include "model/position.h"
#include "model/stamp.h"

#define CS_ORIGIN_MAX 64 /* bytes; characters A-Z a-z 0-9 _ . - */

/* A change with what the inner loops need. `pub` is what the public sees, so a batch hands out &pub. */
typedef struct cs_change {
    csync_change pub;
    int64_t ts; /* pub.timestamp in milliseconds */
    size_t table_len, pk_len, payload_len;
} cs_change;

struct csync_batch {
    cs_change *items;
    size_t count, cap;
    size_t bytes; /* of table, pk and payload texts: what limits a page */
    cs_arena arena; /* holds every string of the changes and of the info */
    const char *origin; /* NULL: unknown */
    int64_t from_version, to_version;
    int has_more;
    int has_info; /* from_version, to_version and has_more were given */
    char hash[CSYNC_HASH_SIZE];
    /* the rest as csync_batch_info has it */
    const char *epoch, *from_epoch, *peer_epoch, *floor, *cursor, *from_cursor, *key, *tables,
        *heard, *copied_from;
    int64_t peer_version;
    int has_peer, compare;
};

cs_stamp cs_change_stamp(const cs_change *change);
/* 1 when the change has a base; its origin is in `text`. */
int cs_change_base(const csync_change *change, cs_stamp *out, char text[CS_STAMP_SIZE]);
/* The positions that a batch continues, leads to, and that its maker has in the reader's log. */
cs_position cs_batch_from(const csync_batch *batch);
cs_position cs_batch_to(const csync_batch *batch);
cs_position cs_batch_peer(const csync_batch *batch);
/* Copies a text into the batch's arena; NULL stays NULL. CSYNC_ENOMEM. */
int cs_batch_text(csync_batch *batch, const char *text, const char **out, csync_error *err);
/* "insert", "update", "delete"; NULL for anything else. */
const char *cs_operation_name(int operation);
/* Reads the name in any case, or "0", "1", "2"; 0: none of them. */
int cs_operation_parse(const char *text, size_t len);
/* 0, or CSYNC_EINVAL with the fault named. */
int cs_origin_check(const char *origin, csync_error *err);

/* Makes the change at `items[count]` ready to fill and returns it (zeroed but for struct_size), NULL when out
 * of memory. Whoever fills it takes care of every field, `ts` and the lengths too; its texts live in the
 * arena. The pointer is valid until the next call; the texts are as long as the batch. */
cs_change *cs_batch_push(csync_batch *batch);
/* Sets ts, and pub.timestamp to its text in the arena. CSYNC_OK or CSYNC_ENOMEM. */
int cs_batch_set_time(csync_batch *batch, cs_change *change, int64_t ms);
/* Copies `change`, which is known to be well-formed; `ms` is its timestamp. */
int cs_batch_append(csync_batch *batch, const csync_change *change, int64_t ms, csync_error *err);
/* Copies the strings of `change` into the arena and appends it, checked as csync_batch_add promises:
 * operation, table not empty, origin's form, pk a JSON object with at least one member, payload a JSON
 * object unless a delete (whose payload is dropped), timestamp, no negative number. Defined in
 * codec/change_check.c, because it reads JSON. */
int cs_batch_add(csync_batch *batch, const csync_change *change, csync_error *err);
/* NULL past the end, or when batch is NULL. */
const csync_change *cs_batch_get(const csync_batch *batch, size_t i);
csync_batch *cs_batch_create(void); /* NULL: out of memory */
void cs_batch_destroy(csync_batch *batch);
#endif
