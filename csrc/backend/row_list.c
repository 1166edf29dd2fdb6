/* row_list.c - rows named by table and key, and which of them refer to a row. */
#include "backend/row_list.h"

#include <string.h>

#include "base/mem.h"

int cs_row_list_add(cs_row_list *rows, cs_table *t, const char *pk, csync_error *err)
{
    char *copy = cs_strdup(pk);

    if (!copy || cs_grow(&rows->list, &rows->cap, rows->count + 1, sizeof *rows->list) != CSYNC_OK) {
        cs_free(copy);
        return cs_fail_nomem(err);
    }
    rows->list[rows->count].table = t;
    rows->list[rows->count++].pk = copy;
    return CSYNC_OK;
}

int cs_row_list_has(const cs_row_list *rows, size_t count, const cs_row_name *one)
{
    for (size_t i = 0; i < count; i++)
        if (rows->list[i].table == one->table && strcmp(rows->list[i].pk, one->pk) == 0)
            return 1;
    return 0;
}

int cs_row_list_has_table(const cs_row_list *rows, const cs_table *t)
{
    for (size_t i = 0; i < rows->count; i++)
        if (rows->list[i].table == t)
            return 1;
    return 0;
}

static int forbids(const cs_foreign_key *fk)
{
    return fk->on_delete == CS_FK_NO_ACTION || fk->on_delete == CS_FK_RESTRICT;
}

int cs_row_list_children(cs_backend *b, cs_table *t, int all, cs_collect_children collect,
                         cs_row_list *out, csync_error *err)
{
    int rc = CSYNC_OK;

    for (size_t i = 0; i < b->table_count; i++) {
        cs_table *child = b->tables[i];

        for (size_t k = 0; rc == CSYNC_OK && k < child->fk_count; k++)
            if (strcmp(child->fks[k].parent, t->name) == 0 && (all || forbids(&child->fks[k])))
                rc = collect(b, t, child, &child->fks[k], out, err);
    }
    return rc;
}

void cs_row_list_free(cs_row_list *rows)
{
    while (rows->count)
        cs_free(rows->list[--rows->count].pk);
    cs_free(rows->list);
}
