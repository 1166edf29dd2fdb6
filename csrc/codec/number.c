/* number.c - text to double and back. */
#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/number.h"
#include "codec/value.h"

static locale_t c_locale;
static pthread_once_t locale_once = PTHREAD_ONCE_INIT;

static void make_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static locale_t the_locale(void)
{
    pthread_once(&locale_once, make_locale);
    return c_locale;
}

static double parse_text(const char *text)
{
    locale_t c = the_locale();

    return c ? strtod_l(text, NULL, c) : strtod(text, NULL);
}

/* ---- Text to double ------------------------------------------------------------------------------ */

/* Where doubles are computed wider than they are stored, the short ways below would round twice. */
#define IS_EXACT (FLT_EVAL_METHOD == 0)

static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* A decimal number taken apart. */
typedef struct parts {
    int is_negative;
    int64_t exponent; /* as written, clamped */
    const char *mantissa; /* digits and at most one point */
    size_t len;
} parts;

static int64_t parse_exponent(const char *p, const char *end)
{
    int is_negative = p < end && *p == '-';
    int64_t value = 0;

    p += p < end && (*p == '-' || *p == '+');
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        if (value < 1000000000000)
            value = value * 10 + (*p - '0');
    return is_negative ? -value : value;
}

static void take_apart(parts *out, const char *text, size_t len)
{
    const char *p = text, *end = text + len;

    out->is_negative = p < end && *p == '-';
    p += p < end && (*p == '-' || *p == '+');
    out->mantissa = p;
    while (p < end && (*p == '.' || (*p >= '0' && *p <= '9')))
        p++;
    out->len = (size_t)(p - out->mantissa);
    out->exponent = p < end && (*p == 'e' || *p == 'E') ? parse_exponent(p + 1, end) : 0;
}

/* More digits than any double needs to be told from its neighbours (767), and then one that says whether
 * anything but zeros follows. */
enum { ENOUGH_DIGITS = 780 };

/* Significant digits gathered from a mantissa: 0.DIGITS * 10^point. */
typedef struct gathered {
    char digits[ENOUGH_DIGITS + 1];
    size_t count; /* in `digits`, without trailing zeros */
    int64_t total; /* significant digits in the text, without trailing zeros */
    int64_t point;
} gathered;

static void gather(gathered *g, const parts *n)
{
    int64_t seen = 0, leading = 0, before_point = -1, digits = 0;

    g->count = 0;
    g->total = 0;
    for (size_t i = 0; i < n->len; i++) {
        char c = n->mantissa[i];

        if (c == '.') {
            before_point = digits;
            continue;
        }
        digits++;
        if (c == '0' && seen == 0) {
            leading++;
            continue;
        }
        seen++;
        if (seen <= ENOUGH_DIGITS)
            g->digits[seen - 1] = c;
        if (c != '0') {
            g->total = seen;
            g->count = seen <= ENOUGH_DIGITS ? (size_t)seen : ENOUGH_DIGITS + 1;
        }
    }
    if (g->count > ENOUGH_DIGITS)
        g->digits[ENOUGH_DIGITS] = '1';
    g->point = (before_point < 0 ? digits : before_point) - leading + n->exponent;
}

static int64_t clamp(int64_t value, int64_t limit)
{
    return value > limit ? limit : value < -limit ? -limit : value;
}

/* Any length: the digits that matter, in a form of bounded size. */
static double parse_long(const parts *n)
{
    gathered g;
    char text[ENOUGH_DIGITS + 40];
    int used;

    gather(&g, n);
    if (g.count == 0)
        return n->is_negative ? -0.0 : 0.0;
    used = snprintf(text, sizeof text, "%s.", n->is_negative ? "-" : "");
    memcpy(text + used, g.digits, g.count);
    snprintf(text + used + g.count, sizeof text - (size_t)used - g.count, "e%lld",
             (long long)clamp(g.point, 99999));
    return parse_text(text);
}

/* Up to 19 digits: x87 holds them exactly and rounds what comes of one operation once, to 64 bits. Rounding
 * that to the 53 of a double is right but next to a tie. Where x87 is imitated (valgrind) with 53 bits, the
 * others are 0. */
static int scale_wide(uint64_t value, int exponent, double *out)
{
#if defined(__x86_64__) && LDBL_MANT_DIG == 64
    long double wide = (long double)value;
    uint64_t bits;

    wide = exponent < 0 ? wide / powers[-exponent] : wide * powers[exponent];
    memcpy(&bits, &wide, sizeof bits);
    bits &= 0x7FF;
    *out = (double)wide;
    return bits != 0 && (bits < 0x3FF || bits > 0x401);
#else
    (void)value, (void)exponent, (void)out;
    return 0;
#endif
}

/* Few digits and a small power of ten: both are exact, so one rounding is the right one. */
static int parse_short(const parts *n, double *out)
{
    uint64_t value = 0;
    int64_t exponent = n->exponent;
    int is_fraction = 0;

    if (n->len > 20 || !IS_EXACT)
        return 0;
    for (size_t i = 0; i < n->len; i++) {
        if (n->mantissa[i] == '.') {
            is_fraction = 1;
            continue;
        }
        value = value * 10 + (unsigned)(n->mantissa[i] - '0');
        exponent -= is_fraction;
    }
    if (n->len - (size_t)is_fraction > 19 || exponent < -22 || exponent > 22)
        return 0;
    if (value <= UINT64_C(9007199254740992))
        *out = exponent < 0 ? (double)value / powers[-exponent] : (double)value * powers[exponent];
    else if (!scale_wide(value, (int)exponent, out))
        return 0;
    *out = n->is_negative ? -*out : *out;
    return 1;
}

double cs_parse_double(const char *text, size_t len)
{
    char copy[64];
    double value;
    parts n;

    take_apart(&n, text, len);
    if (parse_short(&n, &value))
        return value;
    if (len >= sizeof copy)
        return parse_long(&n);
    memcpy(copy, text, len);
    copy[len] = 0;
    return parse_text(copy);
}

/* ---- Double to digits ---------------------------------------------------------------------------- */

static void strip_zeros(cs_decimal *d)
{
    while (d->count > 0 && d->digits[d->count - 1] == '0')
        d->count--;
}

/* The digits of `value` * 10^-scale. */
static void set_digits(cs_decimal *d, uint64_t value, int scale)
{
    char text[CS_INT_SIZE], *end = text + sizeof text;
    char *start = cs_int_format(end, (int64_t)value);

    d->count = (int)(end - start);
    d->point = d->count - scale;
    memcpy(d->digits, start, (size_t)d->count);
    strip_zeros(d);
}

/* Amounts, percentages, coordinates: a few decimals. A decimal of at most 15 digits that reads back to the
 * value is the shortest one, and division by an exact power of ten reads it. */
static int try_few_decimals(cs_decimal *d, double value)
{
    for (int scale = 0; IS_EXACT && scale <= 6; scale++) {
        double scaled = value * powers[scale];

        if (!(scaled < 1e15))
            return 0;
        scaled = nearbyint(scaled);
        if (scaled >= 1 && scaled / powers[scale] == value) {
            set_digits(d, (uint64_t)scaled, scale);
            return 1;
        }
    }
    return 0;
}

/* `text` is what %.*e printed. */
static void read_digits(cs_decimal *d, const char *text)
{
    const char *e = strchr(text, 'e');

    d->count = 0;
    for (const char *p = text; p < e; p++)
        if (*p >= '0' && *p <= '9')
            d->digits[d->count++] = *p;
    d->point = (int)parse_exponent(e + 1, e + strlen(e)) + 1;
    strip_zeros(d);
}

static void print_digits(char *out, size_t size, double value, int precision)
{
    locale_t c = the_locale(), before = c ? uselocale(c) : (locale_t)0;

    snprintf(out, size, "%.*e", precision - 1, value);
    if (c)
        uselocale(before);
}

/* The text with its last digit one higher; 0 when that would carry. */
static int raise_last(char *text)
{
    char *last = strchr(text, 'e') - 1;

    if (*last < '0' || *last >= '9')
        return 0;
    ++*last;
    return 1;
}

/* Tries `precision` digits. Below a power of two doubles are closer than above it, so where the nearest
 * decimal lies below and misses, the next one above may still read back. */
static int try_precision(char *text, size_t size, double value, int precision)
{
    print_digits(text, size, value, precision);
    if (parse_text(text) == value)
        return 1;
    return precision >= 16 && raise_last(text) && parse_text(text) == value;
}

void cs_decimal_of(cs_decimal *d, double value)
{
    char text[40];
    int precision;

    d->is_negative = signbit(value) != 0;
    d->count = d->point = 0;
    value = fabs(value);
    if (value == 0 || try_few_decimals(d, value))
        return;
    /* 15 digits always survive the way through a double, unless it is subnormal */
    precision = value < 2.2250738585072014e-308 ? 1 : 15;
    while (!try_precision(text, sizeof text, value, precision) && precision < 17)
        precision++;
    read_digits(d, text);
}

/* ---- Writing ------------------------------------------------------------------------------------- */

static void put_zeros(cs_buf *b, int n)
{
    while (n-- > 0)
        cs_buf_putc(b, '0');
}

static void put_exponent(cs_buf *b, int64_t exponent)
{
    cs_buf_puts(b, exponent < 0 ? "e-" : "e+");
    cs_buf_put_int(b, exponent < 0 ? -exponent : exponent);
}

/* ECMAScript's Number::toString. */
static void put_decimal(cs_buf *b, const cs_decimal *d)
{
    int n = d->point, k = d->count;

    if (d->is_negative && k)
        cs_buf_putc(b, '-');
    if (k == 0) {
        cs_buf_putc(b, '0');
    } else if (n >= k && n <= 21) {
        cs_buf_put(b, d->digits, (size_t)k);
        put_zeros(b, n - k);
    } else if (n > 0 && n <= 21) {
        cs_buf_put(b, d->digits, (size_t)n);
        cs_buf_putc(b, '.');
        cs_buf_put(b, d->digits + n, (size_t)(k - n));
    } else if (n > -6 && n <= 0) {
        cs_buf_puts(b, "0.");
        put_zeros(b, -n);
        cs_buf_put(b, d->digits, (size_t)k);
    } else {
        cs_buf_putc(b, d->digits[0]);
        if (k > 1)
            cs_buf_putc(b, '.');
        cs_buf_put(b, d->digits + 1, (size_t)(k - 1));
        put_exponent(b, n - 1);
    }
}

static int put_infinite(cs_buf *b, double value)
{
    if (isnan(value))
        cs_buf_puts(b, "{\"$f\":\"NaN\"}");
    else if (isinf(value))
        cs_buf_puts(b, value < 0 ? "-9e999" : "9e999");
    else
        return 0;
    return 1;
}

void cs_put_number_es6(cs_buf *b, double value)
{
    cs_decimal d;

    if (put_infinite(b, value))
        return;
    cs_decimal_of(&d, value);
    put_decimal(b, &d);
}

void cs_put_real(cs_buf *b, double value)
{
    cs_decimal d;
    size_t from = b->len;

    if (put_infinite(b, value))
        return;
    if (value == 0) {
        cs_buf_puts(b, signbit(value) ? "-0.0" : "0.0");
        return;
    }
    cs_decimal_of(&d, value);
    put_decimal(b, &d);
    if (!b->failed && !memchr(b->data + from, '.', b->len - from) &&
        !memchr(b->data + from, 'e', b->len - from))
        cs_buf_puts(b, ".0");
}

/* A number that is no double: its own digits, without zeros at the end of the fraction. */
static void put_verbatim(cs_buf *b, const parts *n)
{
    size_t len = n->len;

    if (memchr(n->mantissa, '.', n->len)) {
        while (n->mantissa[len - 1] == '0')
            len--;
        len -= n->mantissa[len - 1] == '.';
    }
    if (n->is_negative)
        cs_buf_putc(b, '-');
    cs_buf_put(b, n->mantissa, len);
    if (n->exponent)
        put_exponent(b, n->exponent);
}

void cs_put_number_canonical(cs_buf *b, const char *text, size_t len)
{
    int is_integer = !memchr(text, '.', len) && !memchr(text, 'e', len) && !memchr(text, 'E', len);
    gathered g;
    parts n;

    if (is_integer) {
        cs_buf_put(b, text, len == 2 && text[0] == '-' && text[1] == '0' ? 0 : len);
        if (len == 2 && text[0] == '-' && text[1] == '0')
            cs_buf_putc(b, '0');
        return;
    }
    take_apart(&n, text, len);
    gather(&g, &n);
    if (g.total > CS_DIGITS_MAX)
        put_verbatim(b, &n);
    else
        cs_put_number_es6(b, cs_parse_double(text, len));
}

/* ---- Decimals as they are written ---------------------------------------------------------------- */

/* A plain decimal without the zeros that say nothing. */
typedef struct plain {
    int is_negative;
    const char *whole, *fraction;
    size_t whole_len, fraction_len;
} plain;

static size_t count_digits(const char *p, const char *end)
{
    const char *start = p;

    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return (size_t)(p - start);
}

static int read_plain(plain *out, const char *p, size_t len)
{
    const char *end = p + len;

    out->is_negative = p < end && *p == '-';
    p += out->is_negative;
    out->whole = p;
    out->whole_len = count_digits(p, end);
    p += out->whole_len;
    out->fraction = p + 1;
    out->fraction_len = p < end && *p == '.' ? count_digits(p + 1, end) : 0;
    if (!out->whole_len ||
        (p < end && (!out->fraction_len || out->fraction + out->fraction_len != end)))
        return 0;
    for (; out->whole_len && *out->whole == '0'; out->whole_len--)
        out->whole++;
    while (out->fraction_len && out->fraction[out->fraction_len - 1] == '0')
        out->fraction_len--;
    out->is_negative &= out->whole_len || out->fraction_len;
    return 1;
}

int cs_same_decimal(const char *a, size_t a_len, const char *b, size_t b_len)
{
    plain x, y;

    return read_plain(&x, a, a_len) && read_plain(&y, b, b_len) && x.is_negative == y.is_negative &&
           x.whole_len == y.whole_len && x.fraction_len == y.fraction_len &&
           memcmp(x.whole, y.whole, x.whole_len) == 0 &&
           memcmp(x.fraction, y.fraction, x.fraction_len) == 0;
}

int cs_fits_double(const char *text, size_t len)
{
    cs_buf nearest = {0};
    plain n;
    int fits;

    if (len <= DBL_DIG || !read_plain(&n, text, len))
        return 1;
    cs_put_number_es6(&nearest, cs_parse_double(text, len));
    fits = !nearest.failed && cs_same_decimal(text, len, nearest.data, nearest.len);
    cs_buf_free(&nearest);
    return fits;
}

int cs_fits_int64(const char *text, size_t len)
{
    plain n;

    if (memchr(text, '.', len) || !read_plain(&n, text, len))
        return 0;
    return n.whole_len < 19 ||
           (n.whole_len == 19 &&
            memcmp(n.whole, n.is_negative ? "9223372036854775808" : "9223372036854775807", 19) <= 0);
}
