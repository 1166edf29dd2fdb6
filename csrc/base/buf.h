/* buf.h - a growable byte buffer with a maximum. Failure sticks: append freely, look at `failed` once. */
#ifndef CS_BUF_H
#define CS_BUF_H
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

typedef struct cs_buf {
    char *data;
    size_t len, cap, max; /* max 0: 1 GiB */
    int failed; /* CSYNC_OK, CSYNC_ENOMEM, or CSYNC_EINVAL when max was reached */
} cs_buf; /* zero-initialised is empty */

/* Room for `n` more bytes: the place to write them, or NULL (then `failed` is set). */
char *cs_buf_reserve(cs_buf *b, size_t n);
void cs_buf_put(cs_buf *b, const void *bytes, size_t n);
void cs_buf_puts(cs_buf *b, const char *text);
void cs_buf_putc(cs_buf *b, char c);
void cs_buf_put_int(cs_buf *b, int64_t value);
void cs_buf_printf(cs_buf *b, const char *format, ...) CS_PRINTF(2, 3);
void cs_buf_clear(cs_buf *b); /* empties it, keeps the memory */
/* The content as text that is now the caller's (cs_free); NULL and `err` filled if anything failed. */
char *cs_buf_take(cs_buf *b, csync_error *err);
/* NUL-terminates without counting the NUL; the failure, with `err` filled, if anything failed. */
int cs_buf_check(cs_buf *b, csync_error *err);
void cs_buf_free(cs_buf *b);

#define CS_INT_SIZE 20 /* bytes of the longest int64 */
/* Writes the digits so that they end before `end` and returns where they begin; no NUL. */
char *cs_int_format(char *end, int64_t value);
#endif
