/* wire_reader.h - what the readers of batches and of outcomes share. */
#ifndef CS_WIRE_READER_H
#define CS_WIRE_READER_H
#include "codec/scan.h"
#include "codec/wire_object.h"
#include "model/change.h"

/* A text that the next change probably has again. */
typedef struct cs_again {
    const char *text; /* NULL: none, or one that was escaped */
    size_t len;
} cs_again;

typedef struct cs_reader {
    cs_scan s;
    csync_batch *batch; /* takes the changes */
    char *w; /* where the next decoded string goes, in the batch's arena */
    const char *item; /* "change", "outcome": for messages; NULL: outside of one */
    size_t index; /* of the item */
    const char *field; /* for messages; NULL: none */
    int has_no_memory;
    cs_again table, origin;
    const char *timestamp; /* of the change before */
    int64_t ts;
    cs_shape pk, payload;
} cs_reader;

/* Begins to read `json` into `batch`. CSYNC_OK, CSYNC_EINVAL or CSYNC_ENOMEM. */
int cs_reader_open(cs_reader *r, csync_batch *batch, const char *json, size_t len, csync_error *err);
/* Describes why reading failed and returns the code. `what` names the document. */
int cs_reader_fail(const cs_reader *r, const char *what, csync_error *err);
int cs_reader_nomem(cs_reader *r); /* returns CSYNC_ENOMEM */

/* A field of an object: its name in camelCase; the first letter may be a capital. */
typedef struct cs_field {
    char quoted[24]; /* the name in quotes, and the colon; longer than 16 bytes: never expected, only found */
    unsigned len;
} cs_field;
/* Reads the name of the member at p and finds it among `count` fields; `*expected` is tried first and then
 * points behind the one found. Other members are skipped. `*seen` has a bit for each field met; meeting one
 * twice is a fault. Returns the index, -1 when the member was none of them, -2 on a fault. */
int cs_reader_field(cs_reader *r, const cs_field *fields, int count, int *expected, unsigned *seen,
                    unsigned depth);
/* Enters the object at p: 1: a member is at p; 0: it is empty; negative: a code. */
int cs_reader_enter(cs_reader *r, char open);
/* After a value: 1: the next is at p; 0: the container has ended; negative: a code. */
static inline int cs_reader_next(cs_reader *r, char close)
{
    if (r->s.p < r->s.end && *r->s.p == ',' && r->s.end - r->s.p > 1 &&
        (unsigned char)r->s.p[1] > ' ') {
        r->s.p++;
        return 1;
    }
    return cs_scan_next(&r->s, close);
}
/* `null` at p: skips it and returns 1. */
int cs_reader_null(cs_reader *r);
/* An integer of at least 0. */
int cs_reader_count(cs_reader *r, int64_t *out);
/* A string, decoded and NUL-terminated; NULL on a fault, or when it holds a NUL. */
const char *cs_reader_text(cs_reader *r, size_t *len);

/* The change at p, an object; `depth` containers are open around it. */
int cs_reader_change(cs_reader *r, unsigned depth);
#endif
