/* table.h - what csync knows of a table: its columns, key and foreign keys, as the catalogue has them. */
#ifndef CS_TABLE_H
#define CS_TABLE_H
#include "base/buf.h"

enum cs_affinity { CS_AFF_BLOB, CS_AFF_TEXT, CS_AFF_NUMERIC, CS_AFF_INTEGER, CS_AFF_REAL };

typedef struct cs_column {
    char *name;
    char *type; /* as declared */
    char *collation; /* of the key's index for a key column; never NULL */
    char *fallback; /* SQL of what a row holds that was written without the column; NULL: unknown or NULL */
    enum cs_affinity affinity;
    size_t key; /* position in the primary key from 1; 0: no key column */
} cs_column;

enum cs_fk_action {
    CS_FK_NO_ACTION,
    CS_FK_RESTRICT,
    CS_FK_SET_NULL,
    CS_FK_SET_DEFAULT,
    CS_FK_CASCADE
};

typedef struct cs_foreign_key {
    char *parent; /* table name in the catalogue's spelling */
    size_t count;
    char **columns; /* of the child */
    char **parent_columns;
    enum cs_fk_action on_delete, on_update;
} cs_foreign_key;

/* The columns of a UNIQUE index that is neither partial nor on expressions, as indexes into columns. */
typedef struct cs_unique {
    size_t *columns;
    char **collations;
    size_t count;
} cs_unique;

typedef struct cs_table {
    char *name;
    int64_t id; /* names the heads table */
    int capture; /* CSYNC_CAPTURE_FULL or CSYNC_CAPTURE_KEYS */
    cs_column *columns; /* without generated ones */
    size_t count;
    size_t *key; /* indexes into columns, in key order */
    size_t key_count;
    cs_foreign_key *fks;
    size_t fk_count;
    cs_unique *uniques; /* besides the primary key */
    size_t unique_count;
    int evicts; /* how many UNIQUE indexes there are besides the key: through them REPLACE deletes other rows */
    int rowid_key; /* the key is SQLite's rowid */
    int strict;
    int utf16; /* the database compares text as UTF-16 */
    int rank; /* parents before children */
    int deferred; /* a foreign key is checked only at COMMIT */
    int untracked_acts; /* a foreign key of an untracked table does something when a row here goes */
    int in_cycle; /* a foreign key leads back to the table itself, so no order of rows is always right */
    int acts_on_delete; /* a foreign key of some table does something when a row here goes */
    int blocks_delete; /* or forbids that it goes */
    int acts_on_update; /* or when its referenced columns change */
    char *fingerprint; /* of columns, key and capture, as text */
    void *prepared; /* the backend's statements for this table; the backend frees them */
} cs_table;

cs_table *cs_table_create(const char *name); /* NULL: out of memory */
void cs_table_destroy(cs_table *table);
/* The column of that name (exact), or NULL. */
const cs_column *cs_table_column(const cs_table *table, const char *name, size_t len);
/* Sets rank, in_cycle, acts_on_delete, blocks_delete and acts_on_update of all tables from their foreign keys. */
void cs_tables_rank(cs_table **tables, size_t count);

/* Append an identifier or a text literal, quoted for SQL. */
void cs_put_ident(cs_buf *b, const char *name);
void cs_put_literal(cs_buf *b, const char *text);
/* Append the key columns as a list, each with `prefix` before its name: "a"."x", "a"."y" */
void cs_put_key_list(cs_buf *b, const cs_table *table, const char *prefix);
#endif
