/* scan.h - strict JSON (RFC 8259), token by token: what every reader of JSON here stands on.
 *
 * A function that meets a fault returns CSYNC_EINVAL, with `p` at the byte and `fault` saying what is wrong.
 * Nothing is read at or behind `end`. Nothing recurses. */
#ifndef CS_SCAN_H
#define CS_SCAN_H
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

#define CS_DEPTH_MAX 64 /* of nested objects and arrays */

typedef struct cs_scan {
    const char *p, *end, *start;
    const char *fault; /* static text */
    int any_bytes; /* 1: strings may hold invalid UTF-8 */
} cs_scan;

typedef struct cs_token {
    const char *text; /* a string without its quotes, escapes as they stand; a number */
    size_t len;
    int has_escape; /* a string: cs_scan_decode is needed */
    int has_invalid; /* a string: invalid UTF-8 (only with any_bytes) */
    int is_integer; /* a number: digits only */
} cs_token;

void cs_scan_init(cs_scan *s, const char *json, size_t len);
/* Sets `fault` and returns CSYNC_EINVAL. */
int cs_scan_fault(cs_scan *s, const char *fault);
/* Describes the fault: "`what`, byte N: fault". Returns CSYNC_EINVAL. */
int cs_scan_fail(const cs_scan *s, csync_error *err, const char *what);

/* Skips white space and returns the byte there, -1 at the end. */
static inline int cs_scan_peek(cs_scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
    return s->p < s->end ? (unsigned char)*s->p : -1;
}

/* Skips white space and the character `c`. */
int cs_scan_expect(cs_scan *s, char c, const char *fault);
/* CSYNC_OK when nothing but white space is left. */
int cs_scan_finish(cs_scan *s);

/* `p` is at the first byte of the token and afterwards behind it. */
int cs_scan_string(cs_scan *s, cs_token *out);
int cs_scan_number(cs_scan *s, cs_token *out);
int cs_scan_word(cs_scan *s, const char *word); /* true, false, null */
/* The name of a member and its colon. `p` is at what should be the opening quote, afterwards at the value. */
int cs_scan_name(cs_scan *s, cs_token *out);
/* Any value; `depth` objects and arrays are open around it. */
int cs_scan_value(cs_scan *s, unsigned depth);
/* After a value, inside the container that `close` ends: 1: a comma, `p` is at the next item; 0: closed. */
int cs_scan_next(cs_scan *s, char close);

/* Decodes the inside of a string that cs_scan_string has accepted into `out`, which has room for `len` bytes
 * and may be `text` itself. Returns the bytes written. */
size_t cs_scan_decode(char *out, const char *text, size_t len);

/* The string at `p` (its opening quote), decoded to `out` as it is read. `out` has room for the bytes up to
 * `end` and CS_CHUNK more. Returns the end of what was written (no NUL), NULL on a fault. */
char *cs_scan_copy(cs_scan *s, char *out);

/* Reads a token that is an integer. -1 when it does not fit. */
int cs_int_parse(const char *digits, size_t len, int64_t *out);
#endif
