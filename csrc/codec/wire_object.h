/* wire_object.h - pkValue and payload: JSON strings that hold a JSON object. */
#ifndef CS_WIRE_OBJECT_H
#define CS_WIRE_OBJECT_H
#include "codec/scan.h"

/* Decodes the JSON string at s->p to `out` (room as for cs_scan_copy) and checks that it holds an object of
 * distinct names, at least `min_members`. Returns the end of the text (no NUL); NULL: *rc is CSYNC_EINVAL with
 * the fault in s, or CSYNC_ENOMEM. */
char *cs_wire_object(cs_scan *s, char *out, size_t min_members, int *rc);
#endif
