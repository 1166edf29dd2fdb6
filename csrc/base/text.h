/* text.h - messages: one line of UTF-8 that fits. */
#ifndef CS_TEXT_H
#define CS_TEXT_H
#include <stdarg.h>
#include <stddef.h>

/* vsnprintf, cut on a UTF-8 boundary; control characters become blanks, so that it stays one line. */
void cs_text_format(char *out, size_t size, const char *format, va_list args);
/* Copies `text` into out[size], cut on a UTF-8 boundary. */
void cs_text_copy(char *out, size_t size, const char *text);
/* The largest n <= len at which `text` may be cut without splitting a character. */
size_t cs_text_cut(const char *text, size_t len);
#endif
