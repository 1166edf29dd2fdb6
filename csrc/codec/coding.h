/* coding.h - content codings (RFC 9110, 8.4.1). Each is done by a library that is opened at run time. Any thread. */
#ifndef CS_CODING_H
#define CS_CODING_H
#include "base/buf.h"

enum { CS_CODINGS = 2 };
extern const char *const cs_coding_names[CS_CODINGS]; /* the preferred one first */

/* Those that are here: "zstd, gzip"; "". Static text. */
const char *cs_codings_here(void);
/* Its place in cs_coding_names, whatever its case; -1: there is none such. */
int cs_coding_find(const char *name, size_t len);
/* CSYNC_EUNSUPPORTED: its library is not on this machine. */
int cs_coding_check(int coding, csync_error *err);
/* Appends to `out`. As cs_coding_check, and CSYNC_ENOMEM. */
int cs_coding_encode(int coding, const void *data, size_t len, cs_buf *out, csync_error *err);
/* The same, and CSYNC_EINVAL: malformed, truncated, or followed by something else; or `out` would hold more than `max`
 * bytes, then out->failed says so. Memory is bounded by `max` and 8 MiB, time by `len` and `max`. */
int cs_coding_decode(int coding, const void *data, size_t len, size_t max, cs_buf *out,
                     csync_error *err);

/* gzip.c, zstd.c. 0; 1: malformed; 2: more than max; CSYNC_ENOMEM */
enum { CS_CODED = 0, CS_CODED_BADLY = 1, CS_CODED_TOO_MUCH = 2, CS_CODING_CHUNK = 64 << 10 };
int cs_gzip_open(csync_error *err);
int cs_gzip_encode(const void *data, size_t len, cs_buf *out);
int cs_gzip_decode(const void *data, size_t len, size_t max, cs_buf *out);
int cs_zstd_open(csync_error *err);
int cs_zstd_encode(const void *data, size_t len, cs_buf *out);
int cs_zstd_decode(const void *data, size_t len, size_t max, cs_buf *out);
#endif
