/* buf.c - a growable byte buffer with a maximum. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

#define DEFAULT_MAX ((size_t)1 << 30)

static char *fail(cs_buf *b, int code)
{
    b->failed = code;
    return NULL;
}

/* There is always room for one byte more: the NUL of cs_buf_check. */
static char *grow(cs_buf *b, size_t n)
{
    size_t max = b->max ? b->max : DEFAULT_MAX;
    size_t cap = b->cap ? b->cap : 256;
    char *data;

    if (b->failed)
        return NULL;
    if (n > max || b->len > max - n)
        return fail(b, CSYNC_EINVAL);
    while (cap < b->len + n + 1)
        cap *= 2;
    data = cs_realloc(b->data, cap);
    if (!data)
        return fail(b, CSYNC_ENOMEM);
    b->data = data;
    b->cap = cap;
    return data + b->len;
}

char *cs_buf_reserve(cs_buf *b, size_t n)
{
    size_t max = b->max ? b->max : DEFAULT_MAX;

    if (!b->failed && n < b->cap - b->len && b->cap && n <= max && b->len <= max - n)
        return b->data + b->len;
    return grow(b, n);
}

void cs_buf_put(cs_buf *b, const void *bytes, size_t n)
{
    char *w = cs_buf_reserve(b, n);

    if (!w || n == 0)
        return;
    memcpy(w, bytes, n);
    b->len += n;
}

void cs_buf_puts(cs_buf *b, const char *text)
{
    cs_buf_put(b, text, strlen(text));
}

void cs_buf_putc(cs_buf *b, char c)
{
    char *w = cs_buf_reserve(b, 1);

    if (w) {
        *w = c;
        b->len++;
    }
}

void cs_buf_put_int(cs_buf *b, int64_t value)
{
    char digits[CS_INT_SIZE];
    char *start = cs_int_format(digits + sizeof digits, value);

    cs_buf_put(b, start, (size_t)(digits + sizeof digits - start));
}

char *cs_int_format(char *end, int64_t value)
{
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    do {
        *--end = (char)('0' + left % 10);
        left /= 10;
    } while (left);
    if (value < 0)
        *--end = '-';
    return end;
}

void cs_buf_printf(cs_buf *b, const char *format, ...)
{
    va_list args;
    char *w;
    int n;

    va_start(args, format);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) {
        fail(b, CSYNC_EINVAL);
        return;
    }
    w = cs_buf_reserve(b, (size_t)n);
    if (!w)
        return;
    va_start(args, format);
    vsnprintf(w, (size_t)n + 1, format, args);
    va_end(args);
    b->len += (size_t)n;
}

void cs_buf_clear(cs_buf *b)
{
    b->len = 0;
    b->failed = CSYNC_OK;
}

int cs_buf_check(cs_buf *b, csync_error *err)
{
    char *end = cs_buf_reserve(b, 0);

    if (b->failed == CSYNC_EINVAL)
        return cs_fail(err, CSYNC_EINVAL, "a text is larger than the %zu bytes allowed",
                       b->max ? b->max : DEFAULT_MAX);
    if (!end)
        return cs_fail_nomem(err);
    *end = 0;
    return CSYNC_OK;
}

char *cs_buf_take(cs_buf *b, csync_error *err)
{
    char *text;

    if (cs_buf_check(b, err) != CSYNC_OK) {
        cs_buf_free(b);
        return NULL;
    }
    text = b->data;
    b->data = NULL;
    cs_buf_free(b);
    return text;
}

void cs_buf_free(cs_buf *b)
{
    cs_free(b->data);
    b->data = NULL;
    b->len = b->cap = 0;
    b->failed = CSYNC_OK;
}
