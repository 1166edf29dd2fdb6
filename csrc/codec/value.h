/* value.h - one value of a row, between a database and JSON. The only place where text becomes a number.
 *
 * JSON form: null; true, false; integers as their digits; REAL always with a '.', an 'e' or as +-9e999
 * (infinity), so that 1 and 1.0 stay apart; TEXT as a string; BLOB as {"$b":"<hex>"}; TEXT that is not
 * valid UTF-8 as {"$t":"<hex>"}; NaN as {"$f":"NaN"}; any other object or array is nested JSON. */
#ifndef CS_VALUE_H
#define CS_VALUE_H
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

enum cs_type {
    CS_NULL,
    CS_BOOL, /* integer 0 or 1 */
    CS_INT, /* integer */
    CS_REAL, /* text: the number's own characters (NULL when made from a double); cs_value_real gives it */
    CS_NUMBER, /* an integer beyond int64: text holds its digits */
    CS_TEXT, /* text, len: decoded bytes, may hold NUL and invalid UTF-8 */
    CS_BLOB, /* text, len: decoded bytes */
    CS_JSON /* text, len: nested JSON as it stands */
};

typedef struct cs_value {
    enum cs_type type;
    int64_t integer;
    double real; /* CS_REAL without text */
    const char *text;
    size_t len;
} cs_value;

/* The double of a CS_REAL, CS_NUMBER, CS_INT or CS_BOOL; independent of the locale. */
double cs_value_real(const cs_value *value);
/* strtod on `len` bytes in the C locale. */
double cs_parse_double(const char *text, size_t len);

/* Writers. Each appends one JSON value. */
void cs_put_real(cs_buf *b,
                 double value); /* shortest text that reads back to the same bits, -0.0 kept */
void cs_put_text(cs_buf *b, const char *text, size_t len); /* a string, or {"$t":..} */
void cs_put_blob(cs_buf *b, const void *bytes, size_t len); /* upper-case hex */
void cs_put_string(cs_buf *b, const char *text, size_t len); /* a string; text must be valid UTF-8 */
void cs_put_value(cs_buf *b, const cs_value *value);

/* 1 when the bytes are valid UTF-8 (RFC 3629: no surrogates, nothing overlong). */
int cs_utf8_valid(const char *text, size_t len);
#endif
