/* row_list.c - rows named by table and key. */
#include "backend/row_list.h"

#include <string.h>

#include "base/error.h"
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

void cs_row_list_clear(cs_row_list *rows)
{
    while (rows->count)
        cs_free(rows->list[--rows->count].pk);
}

void cs_row_list_free(cs_row_list *rows)
{
    cs_row_list_clear(rows);
    cs_free(rows->list);
}
