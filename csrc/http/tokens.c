/* tokens.c - the file of tokens: who may ask a server for what. It holds hashes, never tokens. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/options.h"
#include "base/text.h"
#include "codec/hex.h"
#include "codec/text_list.h"
#include "codec/value.h"
#include "codec/wire_reader.h"
#include "http/file.h"
#include "http/server.h"

enum { ID_BYTES = 4, SECRET_BYTES = 32, ID_SIZE = 17, FILE_MAX = 16 << 20 };
enum { BOTH = CSYNC_MAY_READ | CSYNC_MAY_WRITE };

typedef struct token {
    char id[ID_SIZE];
    char hash[CSYNC_HASH_SIZE];
    char client[CSYNC_ORIGIN_SIZE], database[CS_DATABASE_SIZE]; /* "": any */
    int may;
    int64_t expires, created;
    const char **tables; /* their names, in the texts or the caller's */
    size_t table_count, table_cap; /* 0: every table */
} token;

typedef struct tokens {
    token *items;
    size_t count, cap;
    csync_batch *texts; /* what was read */
} tokens;

static const char *const may_names[] = {"", "read", "write", "both"};

/* ---- reading ---- */

enum { ID, HASH, CLIENT, DATABASE, MAY, TABLES, EXPIRES, CREATED, FIELDS };
static const cs_field fields[FIELDS] = {
    {"\"id\":", 5},  {"\"hash\":", 7},   {"\"client\":", 9},   {"\"database\":", 11},
    {"\"may\":", 6}, {"\"tables\":", 9}, {"\"expires\":", 10}, {"\"created\":", 10}};
static const cs_field outer[1] = {{"\"tokens\":", 9}};

static int read_text(cs_reader *r, char *out, size_t size)
{
    size_t len;
    const char *text;

    if (cs_reader_null(r))
        return CSYNC_OK;
    text = cs_reader_text(r, &len);
    if (!text)
        return CSYNC_EINVAL;
    if (len >= size)
        return cs_scan_fault(&r->s, "the text is too long");
    cs_text_copy(out, size, text);
    return CSYNC_OK;
}

static int read_may(cs_reader *r, int *may)
{
    char name[8] = "";
    int rc = read_text(r, name, sizeof name);

    for (int i = CSYNC_MAY_READ; rc == CSYNC_OK && i <= BOTH; i++)
        if (strcmp(name, may_names[i]) == 0)
            *may = i;
    return rc == CSYNC_OK && !*may ? cs_scan_fault(&r->s, "may is read, write or both") : rc;
}

/* A list that names none would let see every table where nobody meant it. */
static int read_tables(cs_reader *r, token *t)
{
    int more;

    if (cs_reader_null(r))
        return CSYNC_OK;
    for (more = cs_reader_enter(r, '['); more == 1; more = cs_reader_next(r, ']')) {
        size_t len;
        const char *name = cs_reader_text(r, &len);

        if (!name)
            return CSYNC_EINVAL;
        if (cs_grow(&t->tables, &t->table_cap, t->table_count + 1, sizeof *t->tables) != CSYNC_OK)
            return cs_reader_nomem(r);
        t->tables[t->table_count++] = name;
    }
    return more == 0 && !t->table_count ? cs_scan_fault(&r->s, "tables names none") : more;
}

static int read_field(cs_reader *r, int field, token *t)
{
    switch (field) {
    case ID:
        return read_text(r, t->id, sizeof t->id);
    case HASH:
        return read_text(r, t->hash, sizeof t->hash);
    case CLIENT:
        return read_text(r, t->client, sizeof t->client);
    case DATABASE:
        return read_text(r, t->database, sizeof t->database);
    case MAY:
        return read_may(r, &t->may);
    case TABLES:
        return read_tables(r, t);
    case EXPIRES:
        return cs_reader_count(r, &t->expires);
    case CREATED:
        return cs_reader_count(r, &t->created);
    default:
        return field == -1 ? CSYNC_OK : CSYNC_EINVAL;
    }
}

static int read_token(cs_reader *r, tokens *all)
{
    int more, expected = 0, rc = CSYNC_OK;
    unsigned seen = 0;
    token *t;

    if (cs_grow(&all->items, &all->cap, all->count + 1, sizeof *all->items) != CSYNC_OK)
        return cs_reader_nomem(r);
    t = &all->items[all->count++];
    memset(t, 0, sizeof *t);
    for (more = cs_reader_enter(r, '{'); more == 1; more = cs_reader_next(r, '}')) {
        rc = read_field(r, cs_reader_field(r, fields, FIELDS, &expected, &seen, 3), t);
        if (rc != CSYNC_OK)
            return rc;
    }
    if (more == 0 && (!t->id[0] || strlen(t->hash) != CSYNC_HASH_SIZE - 1 || !t->may))
        return cs_scan_fault(&r->s, "a token has id, hash and may");
    return more;
}

static int read_list(cs_reader *r, tokens *all)
{
    int more, rc;

    for (more = cs_reader_enter(r, '['); more == 1; more = cs_reader_next(r, ']')) {
        rc = read_token(r, all);
        if (rc != CSYNC_OK)
            return rc;
    }
    return more;
}

static int read_all(cs_reader *r, tokens *all)
{
    int more, expected = 0, rc = CSYNC_OK;
    unsigned seen = 0;

    for (more = cs_reader_enter(r, '{'); more == 1; more = cs_reader_next(r, '}')) {
        int field = cs_reader_field(r, outer, 1, &expected, &seen, 1);

        rc = field == -2 ? CSYNC_EINVAL : field == 0 ? read_list(r, all) : CSYNC_OK;
        if (rc != CSYNC_OK)
            return rc;
    }
    return more == 0 ? cs_scan_finish(&r->s) : more;
}

/* A file that is not there is empty. */
static int load(const char *path, tokens *all, csync_error *err)
{
    cs_buf content = {0};
    cs_reader r;
    int rc = cs_file_read(path, FILE_MAX, &content, err);

    if (rc == CSYNC_ENOTFOUND) {
        cs_error_clear(err);
        return CSYNC_OK;
    }
    if (rc == CSYNC_OK)
        rc = csync_batch_new(&all->texts, err);
    if (rc == CSYNC_OK)
        rc = cs_reader_open(&r, all->texts, content.data, content.len, err);
    if (rc == CSYNC_OK && (rc = read_all(&r, all)) != CSYNC_OK)
        rc = cs_reader_fail(&r, "file of tokens", err);
    cs_buf_free(&content);
    return rc;
}

static void unload(tokens *all)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->items[i].table_cap)
            cs_free(all->items[i].tables);
    cs_free(all->items);
    csync_batch_free(all->texts);
}

int cs_tokens_load(const char *path, csync_api *api, csync_error *err)
{
    tokens all = {0};
    int rc = load(path, &all, err);

    for (size_t i = 0; rc == CSYNC_OK && i < all.count; i++) {
        const token *t = &all.items[i];
        const csync_grant grant = {.struct_size = sizeof grant,
                                   .token_hash = t->hash,
                                   .client = t->client[0] ? t->client : NULL,
                                   .database = t->database[0] ? t->database : NULL,
                                   .may = t->may,
                                   .expires_ms = t->expires,
                                   .tables = t->tables,
                                   .table_count = t->table_count};

        rc = csync_api_grant(api, &grant, err);
    }
    unload(&all);
    return rc;
}

/* ---- writing ---- */

static void put_member(cs_buf *b, const char *name, const char *text)
{
    cs_buf_printf(b, ",\"%s\":", name);
    if (*text)
        cs_put_text(b, text, strlen(text));
    else
        cs_buf_puts(b, "null");
}

static void put_tables(cs_buf *b, const token *t)
{
    cs_buf list = {0};

    cs_buf_puts(b, ",\"tables\":");
    for (size_t i = 0; i < t->table_count; i++)
        cs_text_list_add(&list, t->tables[i]);
    if (list.failed)
        b->failed = list.failed;
    else if (list.len)
        cs_buf_put(b, list.data, list.len);
    cs_buf_puts(b, t->table_count ? "]" : "null");
    cs_buf_free(&list);
}

static void put_tokens(cs_buf *b, const tokens *all, int with_hashes)
{
    cs_buf_putc(b, '[');
    for (size_t i = 0; i < all->count; i++) {
        const token *t = &all->items[i];

        cs_buf_printf(b, "%s\n{\"id\":", i ? "," : "");
        cs_put_text(b, t->id, strlen(t->id));
        if (with_hashes)
            put_member(b, "hash", t->hash);
        put_member(b, "client", t->client);
        put_member(b, "database", t->database);
        put_member(b, "may", may_names[t->may]);
        put_tables(b, t);
        cs_buf_printf(b, ",\"expires\":%lld,\"created\":%lld}", (long long)t->expires,
                      (long long)t->created);
    }
    cs_buf_puts(b, all->count ? "\n]" : "]");
}

static int save(const char *path, const tokens *all, csync_error *err)
{
    cs_buf b = {0};
    int rc;

    cs_buf_puts(&b, "{\"tokens\":");
    put_tokens(&b, all, 1);
    cs_buf_puts(&b, "}\n");
    rc = cs_buf_check(&b, err);
    if (rc == CSYNC_OK)
        rc = cs_file_replace(path, b.data, b.len, err);
    cs_buf_free(&b);
    return rc;
}

static int random_hex(char *out, size_t bytes, csync_error *err)
{
    unsigned char raw[SECRET_BYTES];

    if (getrandom(raw, bytes, 0) != (ssize_t)bytes)
        return cs_fail(err, CSYNC_ERROR, "the kernel gives no random bytes");
    cs_hex_encode(out, raw, bytes);
    for (size_t i = 0; i < 2 * bytes; i++)
        out[i] = out[i] >= 'A' ? (char)(out[i] | 0x20) : out[i];
    out[2 * bytes] = 0;
    return CSYNC_OK;
}

static int fill_token(token *t, const csync_token_options *o, char *text, size_t size,
                      csync_error *err)
{
    char secret[2 * SECRET_BYTES + 1];
    int rc = random_hex(t->id, ID_BYTES, err);

    if (rc == CSYNC_OK)
        rc = random_hex(secret, SECRET_BYTES, err);
    if (rc != CSYNC_OK)
        return rc;
    snprintf(text, size, "csync_%s_%s", t->id, secret);
    cs_text_copy(t->client, sizeof t->client, o->client ? o->client : "");
    cs_text_copy(t->database, sizeof t->database, o->database ? o->database : "");
    t->may = o->may ? o->may : BOTH;
    t->expires = o->expires_ms;
    t->tables = (const char **)(uintptr_t)o->tables;
    t->table_count = o->table_count;
    t->created = cs_time_now();
    return cs_token_hash(text, t->hash, err);
}

static int check(const csync_token_options *o, csync_error *err)
{
    if (o->client && cs_origin_check(o->client, err) != CSYNC_OK)
        return CSYNC_EINVAL;
    if (o->database && cs_origin_check(o->database, NULL) != CSYNC_OK)
        return cs_fail(err, CSYNC_EINVAL, "\"%.70s\" is no name of a database", o->database);
    if (o->may < 0 || o->may > BOTH || o->expires_ms < 0)
        return cs_fail(err, CSYNC_EINVAL, "may or expires_ms is out of range");
    return cs_scope_check(&(cs_scope){o->tables, o->table_count}, err);
}

static int add(const char *file, const csync_token_options *o, char *text, size_t size,
               csync_error *err)
{
    tokens all = {0};
    int rc = load(file, &all, err);

    if (rc == CSYNC_OK && cs_grow(&all.items, &all.cap, all.count + 1, sizeof *all.items) != CSYNC_OK)
        rc = cs_fail_nomem(err);
    if (rc == CSYNC_OK) {
        token *t = &all.items[all.count++];

        memset(t, 0, sizeof *t);
        rc = fill_token(t, o, text, size, err);
    }
    if (rc == CSYNC_OK)
        rc = save(file, &all, err);
    unload(&all);
    return rc;
}

int csync_token_add(const char *file, const csync_token_options *options, char **token_out,
                    csync_error *err)
{
    csync_token_options o;
    char text[2 * SECRET_BYTES + ID_SIZE + 8];
    int lock = -1, rc;

    cs_error_clear(err);
    if (token_out)
        *token_out = NULL;
    if (!file || !token_out)
        return cs_fail(err, CSYNC_EMISUSE, "file or token is NULL");
    rc = CS_OPTIONS_IN(&o, options, err);
    if (rc == CSYNC_OK)
        rc = check(&o, err);
    if (rc == CSYNC_OK)
        rc = cs_file_lock(file, &lock, err);
    if (rc == CSYNC_OK)
        rc = add(file, &o, text, sizeof text, err);
    cs_file_unlock(lock);
    if (rc == CSYNC_OK && !(*token_out = cs_strdup(text)))
        rc = cs_fail_nomem(err);
    return rc;
}

int csync_token_list(const char *file, char **json, csync_error *err)
{
    tokens all = {0};
    cs_buf b = {0};
    int rc;

    cs_error_clear(err);
    if (json)
        *json = NULL;
    if (!file || !json)
        return cs_fail(err, CSYNC_EMISUSE, "file or json is NULL");
    rc = load(file, &all, err);
    if (rc == CSYNC_OK) {
        put_tokens(&b, &all, 0);
        *json = cs_buf_take(&b, err);
        rc = *json ? CSYNC_OK : CSYNC_ENOMEM;
    }
    cs_buf_free(&b);
    unload(&all);
    return rc;
}

static int drop(const char *file, const char *id, csync_error *err)
{
    tokens all = {0};
    size_t kept = 0;
    int rc = load(file, &all, err);

    for (size_t i = 0; i < all.count; i++)
        if (strcmp(all.items[i].id, id) != 0)
            all.items[kept++] = all.items[i];
        else
            cs_free(all.items[i].tables);
    if (rc == CSYNC_OK && kept == all.count)
        rc = cs_fail(err, CSYNC_ENOTFOUND, "there is no token \"%.40s\"", id);
    all.count = kept;
    if (rc == CSYNC_OK)
        rc = save(file, &all, err);
    unload(&all);
    return rc;
}

int csync_token_revoke(const char *file, const char *id, csync_error *err)
{
    int lock = -1, rc;

    cs_error_clear(err);
    if (!file || !id)
        return cs_fail(err, CSYNC_EMISUSE, "file or id is NULL");
    rc = cs_file_lock(file, &lock, err);
    if (rc == CSYNC_OK)
        rc = drop(file, id, err);
    cs_file_unlock(lock);
    return rc;
}
