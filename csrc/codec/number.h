/* number.h - doubles and decimal texts, both ways exact, whatever the process's locale. */
#ifndef CS_NUMBER_H
#define CS_NUMBER_H
#include <stddef.h>
#include "base/buf.h"

#define CS_DIGITS_MAX 18 /* a text with more significant digits is no double */

/* 0.DIGITS * 10^point, digits without leading or trailing zeros; count 0: zero. */
typedef struct cs_decimal {
    int is_negative;
    int count;
    int point;
    char digits[CS_DIGITS_MAX];
} cs_decimal;

/* The shortest digits that read back to the finite `value`, and of those the nearest. */
void cs_decimal_of(cs_decimal *d, double value);
/* Appends the number as ECMAScript writes it (RFC 8785); -0 is 0, infinities are 9e999 and -9e999. */
void cs_put_number_es6(cs_buf *b, double value);
/* Appends the canonical form of a JSON number's text. */
void cs_put_number_canonical(cs_buf *b, const char *text, size_t len);
/* 1 when both texts are plain decimals (digits, at most one point, a minus) and the same number. */
int cs_same_decimal(const char *a, size_t a_len, const char *b, size_t b_len);
/* 0 when `text` is a plain decimal that no double is exactly. */
int cs_fits_double(const char *text, size_t len);
/* 1 when `text` is an integer of 64 bits. */
int cs_fits_int64(const char *text, size_t len);
#endif
