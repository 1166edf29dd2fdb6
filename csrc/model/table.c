/* table.c - table descriptions, their order, and quoting of their names. */
#include "model/table.h"

#include <string.h>

#include "base/mem.h"

cs_table *cs_table_create(const char *name)
{
    cs_table *t = cs_calloc(1, sizeof *t);

    if (!t)
        return NULL;
    t->name = cs_strdup(name);
    if (!t->name) {
        cs_free(t);
        return NULL;
    }
    return t;
}

static void free_foreign_key(cs_foreign_key *fk)
{
    for (size_t i = 0; i < fk->count; i++) {
        cs_free(fk->columns ? fk->columns[i] : NULL);
        cs_free(fk->parent_columns ? fk->parent_columns[i] : NULL);
    }
    cs_free(fk->columns);
    cs_free(fk->parent_columns);
    cs_free(fk->parent);
}

static void free_unique(cs_unique *u)
{
    for (size_t i = 0; i < u->count; i++)
        cs_free(u->collations[i]);
    cs_free(u->collations);
    cs_free(u->columns);
}

void cs_table_destroy(cs_table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->count; i++) {
        cs_free(table->columns[i].name);
        cs_free(table->columns[i].type);
        cs_free(table->columns[i].collation);
        cs_free(table->columns[i].fallback);
    }
    for (size_t i = 0; i < table->fk_count; i++)
        free_foreign_key(&table->fks[i]);
    cs_free(table->columns);
    cs_free(table->key);
    for (size_t i = 0; i < table->unique_count; i++)
        free_unique(&table->uniques[i]);
    cs_free(table->uniques);
    cs_free(table->fks);
    cs_free(table->fingerprint);
    cs_free(table->name);
    cs_free(table);
}

const cs_column *cs_table_column(const cs_table *table, const char *name, size_t len)
{
    for (size_t i = 0; i < table->count; i++) {
        const char *have = table->columns[i].name;

        if (strncmp(have, name, len) == 0 && have[len] == 0)
            return &table->columns[i];
    }
    return NULL;
}

static cs_table *find(cs_table **tables, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(tables[i]->name, name) == 0)
            return tables[i];
    return NULL;
}

static int acts(enum cs_fk_action action)
{
    return action == CS_FK_SET_NULL || action == CS_FK_SET_DEFAULT || action == CS_FK_CASCADE;
}

/* One round of "a child is below its parents"; 1 when something moved. */
static int rank_once(cs_table **tables, size_t count)
{
    int moved = 0;

    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < tables[i]->fk_count; k++) {
            const cs_table *parent = find(tables, count, tables[i]->fks[k].parent);

            if (!parent || parent == tables[i] || tables[i]->rank > parent->rank)
                continue;
            tables[i]->rank = parent->rank + 1;
            moved = 1;
        }
    }
    return moved;
}

static void reset(cs_table *t)
{
    t->rank = t->in_cycle = 0;
    t->acts_on_delete = t->acts_on_update = t->blocks_delete = 0;
}

/* What the foreign keys of `child` mean for their parents. */
static void mark_parents(cs_table **tables, size_t count, const cs_table *child)
{
    for (size_t k = 0; k < child->fk_count; k++) {
        const cs_foreign_key *fk = &child->fks[k];
        cs_table *parent = find(tables, count, fk->parent);

        if (!parent)
            continue;
        parent->acts_on_delete |= acts(fk->on_delete);
        parent->blocks_delete |= !acts(fk->on_delete);
        parent->acts_on_update |= acts(fk->on_update);
    }
}

/* Once ranked, only a cycle leaves a parent that is not above its child; what hangs below a cycle counts as
 * part of it. 1 when `t` is found to be. */
static int mark_cycle(cs_table **tables, size_t count, cs_table *t)
{
    for (size_t k = 0; k < t->fk_count && !t->in_cycle; k++) {
        const cs_table *parent = find(tables, count, t->fks[k].parent);

        if (parent && (parent->rank >= t->rank || parent->in_cycle)) {
            t->in_cycle = 1;
            return 1;
        }
    }
    return 0;
}

static int mark_cycles(cs_table **tables, size_t count)
{
    int found = 0;

    for (size_t i = 0; i < count; i++)
        found |= mark_cycle(tables, count, tables[i]);
    return found;
}

void cs_tables_rank(cs_table **tables, size_t count)
{
    for (size_t i = 0; i < count; i++)
        reset(tables[i]);
    for (size_t i = 0; i < count; i++)
        mark_parents(tables, count, tables[i]);
    /* without cycles this settles in at most `count` rounds; a cycle is cut off there */
    for (size_t round = 0; round < count && rank_once(tables, count); round++)
        ;
    while (mark_cycles(tables, count))
        ;
}

static void put_quoted(cs_buf *b, const char *text, char quote)
{
    cs_buf_putc(b, quote);
    for (const char *p = text; *p; p++) {
        if (*p == quote)
            cs_buf_putc(b, quote);
        cs_buf_putc(b, *p);
    }
    cs_buf_putc(b, quote);
}

void cs_put_ident(cs_buf *b, const char *name)
{
    put_quoted(b, name, '"');
}

void cs_put_literal(cs_buf *b, const char *text)
{
    put_quoted(b, text, '\'');
}

void cs_put_key_list(cs_buf *b, const cs_table *table, const char *prefix)
{
    for (size_t i = 0; i < table->key_count; i++) {
        cs_buf_puts(b, i ? "," : "");
        cs_buf_puts(b, prefix);
        cs_put_ident(b, table->columns[table->key[i]].name);
    }
}
