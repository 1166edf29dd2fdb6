/* array.c - array literals as parameters of statements that take many rows. */
#include <string.h>

#include "backend/postgres/postgres.h"

void pg_array_add(cs_buf *array, const char *element)
{
    cs_buf_putc(array, array->len ? ',' : '{');
    if (!element) {
        cs_buf_puts(array, "NULL");
        return;
    }
    cs_buf_putc(array, '"');
    for (size_t n; *element; element += n) {
        n = strcspn(element, "\"\\");
        cs_buf_put(array, element, n);
        if (element[n]) {
            cs_buf_putc(array, '\\');
            cs_buf_putc(array, element[n++]);
        }
    }
    cs_buf_putc(array, '"');
}

void pg_array_add_int(cs_buf *array, int64_t element)
{
    cs_buf_putc(array, array->len ? ',' : '{');
    cs_buf_put_int(array, element);
}

const char *pg_array_text(cs_buf *array)
{
    if (!array->len)
        cs_buf_putc(array, '{');
    cs_buf_putc(array, '}');
    return cs_buf_check(array, NULL) == CSYNC_OK ? array->data : NULL;
}
