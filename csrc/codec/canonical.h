/* canonical.h - canonical JSON: RFC 8785, except that integers keep all their digits, that numbers which
 * are no doubles keep theirs without trailing zeros, and that infinities are 9e999 and -9e999. */
#ifndef CS_CANONICAL_H
#define CS_CANONICAL_H
#include "codec/value.h"

/* Appends the canonical form of any JSON text. Depth is limited to 64; duplicate names are CSYNC_EINVAL. */
int cs_canonical_json(cs_buf *out, const char *json, size_t len, csync_error *err);
/* Order of two JSON texts by the bytes of their canonical forms: *order <0, 0, >0. */
int cs_canonical_order(const char *a, size_t a_len, const char *b, size_t b_len, int *order,
                       csync_error *err);
/* Appends one value; booleans as 0 and 1, blob as {"$b":"HEX"}. */
void cs_canonical_value(cs_buf *out, const cs_value *value);
/* Order of two names: UTF-16 code units, as RFC 8785 section 3.2.3 wants. <0, 0, >0 */
int cs_canonical_compare(const char *a, size_t a_len, const char *b, size_t b_len);
#endif
