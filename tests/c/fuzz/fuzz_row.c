/* fuzz_row.c - the row reader: what it accepts and what cs_row_check accepts are the same, but for names that
 * are there twice; a row that is written again is a row. */
#include <string.h>

#include "base/buf.h"
#include "codec/canonical.h"
#include "codec/row.h"

static void must(int is_true)
{
    if (!is_true)
        __builtin_trap();
}

static int walk(cs_row *row, const char *json, size_t len, cs_buf *out, cs_buf *canonical)
{
    const char *name;
    size_t name_len;
    cs_value value;
    int rc = cs_row_open(row, json, len, NULL), more = 0;

    while (rc == CSYNC_OK && (more = cs_row_next(row, &name, &name_len, &value, NULL)) == 1) {
        cs_buf_putc(out, out->len ? ',' : '{');
        cs_put_string(out, name, name_len);
        cs_buf_putc(out, ':');
        cs_put_value(out, &value);
        cs_canonical_value(canonical, &value);
        cs_value_real(&value);
    }
    if (out->len == 0)
        cs_buf_putc(out, '{');
    cs_buf_putc(out, '}');
    return rc == CSYNC_OK ? more : rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cs_row row = {.any_bytes = size % 3 == 0};
    cs_buf out = {0}, canonical = {0};
    int checked = cs_row_check((const char *)data, size, 0, NULL);
    int walked = walk(&row, (const char *)data, size, &out, &canonical);

    must(checked != CSYNC_OK || walked == CSYNC_OK);
    must(!out.failed && !canonical.failed);
    if (checked == CSYNC_OK)
        must(cs_row_check(out.data, out.len, 0, NULL) == CSYNC_OK);
    cs_row_close(&row);
    cs_buf_free(&out);
    cs_buf_free(&canonical);
    return 0;
}
