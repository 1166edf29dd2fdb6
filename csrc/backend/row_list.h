/* row_list.h - rows named by table and key, and which of them refer to a row. */
#ifndef CS_ROW_LIST_H
#define CS_ROW_LIST_H
#include "backend/backend.h"

typedef struct cs_row_name {
    cs_table *table;
    char *pk;
} cs_row_name;

typedef struct cs_row_list {
    cs_row_name *list;
    size_t count, cap;
} cs_row_list;

int cs_row_list_add(cs_row_list *rows, cs_table *t, const char *pk, csync_error *err);
int cs_row_list_has(const cs_row_list *rows, size_t count, const cs_row_name *one);
int cs_row_list_has_table(const cs_row_list *rows, const cs_table *t); /* among the first `count` */
/* Adds the rows that refer to a row of `t`, one foreign key after the other, by `collect`. `all` 0: only through keys that
 * forbid that the row goes. */
typedef int (*cs_collect_children)(cs_backend *b, cs_table *t, cs_table *child,
                                   const cs_foreign_key *fk, cs_row_list *out, csync_error *err);
int cs_row_list_children(cs_backend *b, cs_table *t, int all, cs_collect_children collect,
                         cs_row_list *out, csync_error *err);
void cs_row_list_free(cs_row_list *rows);
#endif
