/* escape.c - the inside of a JSON string. */
#include <stdint.h>
#include <string.h>

#include "codec/chunk.h"
#include "codec/escape.h"

/* The letter of a two-byte escape; 0: \u00XX. */
static const char letters[] = {
    ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n',  ['\f'] = 'f',
    ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\',
};

static char *escape_control(char *w, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";

    *w++ = '\\';
    if (letters[c]) {
        *w++ = letters[c];
        return w;
    }
    memcpy(w, "u00", 3);
    w[3] = hex[c >> 4];
    w[4] = hex[c & 15];
    return w + 5;
}

/* A chunk whose special bytes are `found`; its text is `p`, of which all CS_CHUNK bytes can be read from
 * every offset on that `found` leads to. */
static inline char *escape_chunk(char *w, const char *p, unsigned found, unsigned size)
{
    unsigned from = 0;

    while (found) {
        unsigned at = (unsigned)__builtin_ctz(found);
        unsigned char c = (unsigned char)p[at];

        cs_chunk_copy(w, p + from);
        w += at - from;
        if (c >= 0x20) {
            w[0] = '\\';
            w[1] = (char)c;
            w += 2;
        } else {
            w = escape_control(w, c);
        }
        from = at + 1;
        found &= found - 1;
    }
    cs_chunk_copy(w, p + from);
    return w + (size - from);
}

char *cs_escape(char *w, const char *text, size_t len)
{
    const char *end = text + len;
    char tail[3 * CS_CHUNK];

    for (; end - text >= 2 * CS_CHUNK; text += CS_CHUNK)
        w = escape_chunk(w, text, cs_chunk_specials(text, 0), CS_CHUNK);
    len = (size_t)(end - text);
    if (len == 0)
        return w;
    memset(tail, ' ', sizeof tail);
    memcpy(tail, text, len);
    if (len > CS_CHUNK) {
        w = escape_chunk(w, tail, cs_chunk_specials(tail, 0), CS_CHUNK);
        return escape_chunk(w, tail + CS_CHUNK, cs_chunk_specials(tail + CS_CHUNK, 0),
                            (unsigned)len - CS_CHUNK);
    }
    return escape_chunk(w, tail, cs_chunk_specials(tail, 0), (unsigned)len);
}
