/* serve.h - serving a snapshot: what is the same on every backend.
 *
 * A cursor is "SCHEMA:VERSION.EPOCH:LENGTH:TABLEKEY": the position of the log when the snapshot began, and the row
 * that was sent last. Nothing else is kept on this side. When the schema has changed the order of the tables may
 * have too, and the snapshot begins anew; so it does when other tables may be read than at its beginning. */
#ifndef CS_SERVE_H
#define CS_SERVE_H
#include "backend/backend.h"

typedef struct cs_serving cs_serving;
struct cs_serving {
    cs_backend *b;
    const char *schema; /* text that changes with the tables; without ':' */
    const cs_page_request *request;
    csync_batch *batch;
    cs_buf *next;
    /* `after` NULL: from the first row on. Both give each row to cs_serve_row until that says it is full. */
    int (*read_table)(cs_serving *s, cs_table *t, const char *after, csync_error *err);
    int (*read_unknown)(cs_serving *s, int64_t after,
                        csync_error *err); /* changes that no table here can hold */
    cs_position at;
    const char *table; /* not terminated */
    size_t table_len; /* 0: behind all tables, among the changes that no table here can hold */
    const char *key; /* JSON, or the number of a parked change */
    int full; /* there is more than the page takes */
};

int cs_serve_bad_cursor(csync_error *err);
/* Appends, unless the page is full, which is seen in s->full. `unknown`: the number of the parked change; 0: it is
 * a row's. */
int cs_serve_row(cs_serving *s, const csync_change *c, int64_t ts, int64_t unknown, csync_error *err);
int cs_serve_page(cs_serving *s, csync_error *err);
#endif
