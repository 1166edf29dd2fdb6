/* wire_object.h - pkValue and payload: JSON strings that hold a JSON object. */
#ifndef CS_WIRE_OBJECT_H
#define CS_WIRE_OBJECT_H
#include "codec/scan.h"

/* The names of the row before. A row of the same table has them again, in the same order. */
enum { CS_SHAPE_NAMES = 48, CS_SHAPE_NAME_MAX = 32 };
typedef struct cs_shape {
    unsigned count;
    struct {
        const char *raw; /* \"Name\": in the source, of which CS_SHAPE_NAME_MAX bytes can be read */
        const char *plain; /* "Name": as decoded, likewise */
        unsigned len; /* of raw */
    } names[CS_SHAPE_NAMES];
} cs_shape; /* count 0: none yet */

/* Decodes the JSON string at s->p to `out` (room as for cs_scan_copy, and CS_SHAPE_NAME_MAX) and checks that
 * it holds an object of distinct names, at least `min_members`. Returns the end of the text (no NUL); NULL:
 * *rc is CSYNC_EINVAL with the fault in s, or CSYNC_ENOMEM. `shape` must belong to the same source. */
char *cs_wire_object(cs_scan *s, char *out, cs_shape *shape, size_t min_members, int *rc);
#endif
