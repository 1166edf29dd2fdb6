/* row.h - reads a row's JSON object member by member, strictly (RFC 8259), without copying where it can. */
#ifndef CS_ROW_H
#define CS_ROW_H
#include "codec/scan.h"
#include "codec/value.h"

typedef struct cs_row {
    cs_scan scan;
    char *scratch; /* decoded strings of this row; allocated once, at the first escape or hex */
    size_t scratch_used, scratch_cap;
    int state;
    int any_bytes; /* set it before opening: strings may hold invalid UTF-8, as a trigger may log it */
} cs_row; /* zero-initialise before the first cs_row_open; it may be opened again and again */

int cs_row_open(cs_row *row, const char *json, size_t len, csync_error *err);
/* 1: *name and *value hold the next member; 0: the object ended, and nothing follows it; negative: a code.
 * Names and values are borrowed from the JSON text or from the row until the next cs_row_open or
 * cs_row_close. Depth of nested JSON is limited to 64, a name must not be empty or hold a NUL. A tagged
 * value whose tag does not fit ({"$b":"no hex"}) is nested JSON. */
int cs_row_next(cs_row *row, const char **name, size_t *name_len, cs_value *value, csync_error *err);
void cs_row_close(cs_row *row);
/* CSYNC_OK when the text is one valid JSON object with distinct names, at least `min_members`. */
int cs_row_check(const char *json, size_t len, size_t min_members, csync_error *err);
/* The same for a text in `s`, which holds the fault: CSYNC_OK, CSYNC_EINVAL or CSYNC_ENOMEM. */
int cs_row_scan(cs_scan *s, size_t min_members);
#endif
