/* form.c - the canonical form of a table's rows and keys. */
#include "sync/form.h"

#include <string.h>

#include "base/mem.h"
#include "codec/canonical.h"

static int compare_columns(const cs_table *t, size_t a, size_t b)
{
    const char *x = t->columns[a].name, *y = t->columns[b].name;

    return cs_canonical_compare(x, strlen(x), y, strlen(y));
}

/* By insertion: a table has few columns, and this is done once. */
static void sort_columns(cs_form *f, const cs_table *t, int only_key)
{
    for (size_t i = 0; i < t->count; i++) {
        size_t at = f->count;

        if (only_key && !t->columns[i].key)
            continue;
        for (; at > 0 && compare_columns(t, i, f->order[at - 1]) < 0; at--)
            f->order[at] = f->order[at - 1];
        f->order[at] = i;
        f->count++;
    }
}

int cs_form_open(cs_form *f, const cs_table *t, int only_key, csync_error *err)
{
    int rc = CSYNC_OK;

    f->count = 0;
    f->order = cs_calloc(t->count, sizeof *f->order);
    f->names = cs_calloc(t->count, sizeof *f->names);
    if (!f->order || !f->names)
        return cs_fail_nomem(err);
    sort_columns(f, t, only_key);
    for (size_t i = 0; rc == CSYNC_OK && i < f->count; i++) {
        const char *name = t->columns[f->order[i]].name;

        cs_put_string(&f->names[i], name, strlen(name));
        cs_buf_putc(&f->names[i], ':');
        rc = cs_buf_check(&f->names[i], err);
    }
    return rc;
}

void cs_form_put(const cs_form *f, const cs_value *values, cs_buf *out)
{
    for (size_t i = 0; i < f->count; i++) {
        cs_buf_putc(out, i ? ',' : '{');
        cs_buf_put(out, f->names[i].data, f->names[i].len);
        cs_canonical_value(out, &values[f->order[i]]);
    }
    cs_buf_putc(out, '}');
}

void cs_form_close(cs_form *f)
{
    for (size_t i = 0; f->names && i < f->count; i++)
        cs_buf_free(&f->names[i]);
    cs_free(f->names);
    cs_free(f->order);
    memset(f, 0, sizeof *f);
}
