/* row_list.h - rows named by table and key. */
#ifndef CS_ROW_LIST_H
#define CS_ROW_LIST_H
#include "csync.h"
#include "model/table.h"

typedef struct cs_row_name {
    cs_table *table;
    char *pk;
} cs_row_name;

typedef struct cs_row_list {
    cs_row_name *list;
    size_t count, cap;
} cs_row_list;

int cs_row_list_add(cs_row_list *rows, cs_table *t, const char *pk, csync_error *err);
int cs_row_list_has(const cs_row_list *rows, size_t count,
                    const cs_row_name *one); /* among the first `count` */
void cs_row_list_clear(cs_row_list *rows); /* keeps its memory */
void cs_row_list_free(cs_row_list *rows);
#endif
