/* text.c - messages: one line of UTF-8 that fits. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* Bytes of the character that begins with `lead`; 1 for anything that begins none. */
static size_t char_size(unsigned char lead)
{
    return lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

size_t cs_text_cut(const char *text, size_t len)
{
    for (size_t back = 1; back <= 4 && back <= len; back++) {
        unsigned char c = (unsigned char)text[len - back];

        if ((c & 0xC0) == 0x80)
            continue;
        return char_size(c) > back ? len - back : len;
    }
    return len;
}

void cs_text_format(char *out, size_t size, const char *format, va_list args)
{
    int n = vsnprintf(out, size, format, args);

    if (n < 0)
        out[0] = 0;
    else if ((size_t)n >= size)
        out[cs_text_cut(out, size - 1)] = 0;
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            *p = ' ';
}

void cs_text_copy(char *out, size_t size, const char *text)
{
    size_t len = strlen(text);

    if (len >= size)
        len = cs_text_cut(text, size - 1);
    memcpy(out, text, len);
    out[len] = 0;
}
