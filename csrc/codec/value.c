/* value.c - row values as JSON. */
#include <math.h>
#include <string.h>

#include "codec/escape.h"
#include "codec/hex.h"
#include "codec/value.h"

double cs_value_real(const cs_value *value)
{
    switch (value->type) {
    case CS_BOOL:
    case CS_INT:
        return (double)value->integer;
    case CS_REAL:
    case CS_NUMBER:
        return value->text ? cs_parse_double(value->text, value->len) : value->real;
    default:
        return 0;
    }
}

/* {"TAG":"HEX"} */
static void put_hex(cs_buf *b, const char *open, const void *bytes, size_t len)
{
    char *w;

    cs_buf_puts(b, open);
    w = len < SIZE_MAX / 2 ? cs_buf_reserve(b, len * 2) : NULL;
    if (w) {
        cs_hex_encode(w, bytes, len);
        b->len += len * 2;
    }
    cs_buf_puts(b, "\"}");
}

void cs_put_blob(cs_buf *b, const void *bytes, size_t len)
{
    put_hex(b, "{\"$b\":\"", bytes, len);
}

void cs_put_text(cs_buf *b, const char *text, size_t len)
{
    if (cs_utf8_valid(text, len))
        cs_put_string(b, text, len);
    else
        put_hex(b, "{\"$t\":\"", text, len);
}

/* In pieces, so that a long text does not ask for the room that it would need were it all escapes. */
void cs_put_string(cs_buf *b, const char *text, size_t len)
{
    enum { PIECE = 4096 };

    cs_buf_putc(b, '"');
    while (len) {
        size_t n = len < PIECE ? len : PIECE;
        char *w = cs_buf_reserve(b, n * CS_ESCAPE_MAX + CS_ESCAPE_SLACK);

        if (!w)
            return;
        b->len += (size_t)(cs_escape(w, text, n) - w);
        text += n;
        len -= n;
    }
    cs_buf_putc(b, '"');
}

void cs_put_value(cs_buf *b, const cs_value *value)
{
    switch (value->type) {
    case CS_NULL:
        cs_buf_puts(b, "null");
        break;
    case CS_BOOL:
        cs_buf_puts(b, value->integer ? "true" : "false");
        break;
    case CS_INT:
        cs_buf_put_int(b, value->integer);
        break;
    case CS_REAL:
        if (!value->text) {
            cs_put_real(b, value->real);
            break;
        } /* fall through */
    case CS_NUMBER:
    case CS_JSON:
        cs_buf_put(b, value->text, value->len);
        break;
    case CS_TEXT:
        cs_put_text(b, value->text, value->len);
        break;
    case CS_BLOB:
        cs_put_blob(b, value->text, value->len);
        break;
    }
}
