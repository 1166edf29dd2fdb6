/* report.c - lists for people and scripts, as JSON. Row values never pass through numbers here: keys and
 * payloads are texts. */
#include "sync/report.h"

#include <string.h>

#include "codec/value.h"
#include "codec/wire.h"

static void put_text(cs_buf *b, const char *text)
{
    if (text)
        cs_put_string(b, text, strlen(text));
    else
        cs_buf_puts(b, "null");
}

/* Members of an object, separated: "name":"text" or "name":null. */
typedef struct member {
    const char *name, *text;
} member;

static void put_members(cs_buf *b, const member *members, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cs_buf_puts(b, i ? "," : "");
        put_text(b, members[i].name);
        cs_buf_putc(b, ':');
        put_text(b, members[i].text);
    }
}

#define PUT_MEMBERS(b, ...)                                                                        \
    do {                                                                                           \
        const member members_[] = {__VA_ARGS__};                                                   \
        put_members(b, members_, sizeof members_ / sizeof *members_);                              \
    } while (0)

static void put_names(cs_buf *b, const cs_table *t, const size_t *order, size_t count)
{
    cs_buf_putc(b, '[');
    for (size_t i = 0; i < count; i++) {
        cs_buf_puts(b, i ? "," : "");
        put_text(b, t->columns[order ? order[i] : i].name);
    }
    cs_buf_putc(b, ']');
}

static int list_tables(csync *c, void *ctx, csync_error *err)
{
    cs_buf *b = ctx;

    (void)err;
    cs_buf_clear(b);
    for (size_t i = 0; i < c->backend->table_count; i++) {
        const cs_table *t = c->backend->tables[i];

        cs_buf_puts(b, i ? ",{" : "{");
        PUT_MEMBERS(b, {"name", t->name},
                    {"capture", t->capture == CSYNC_CAPTURE_KEYS ? "keys" : "full"});
        cs_buf_puts(b, ",\"key\":");
        put_names(b, t, t->key, t->key_count);
        cs_buf_puts(b, ",\"columns\":");
        put_names(b, t, NULL, t->count);
        cs_buf_putc(b, '}');
    }
    return CSYNC_OK;
}

typedef struct listing {
    cs_buf json;
    int64_t since;
    int limit; /* of entries; of clients the days after which they are stale */
} listing;

static int add_parked(void *ctx, const cs_parked *p, csync_error *err)
{
    cs_buf *b = ctx;

    (void)err;
    cs_buf_puts(b, b->len ? ",{" : "{");
    PUT_MEMBERS(b, {"table", p->change->table}, {"pk", p->change->pk},
                {"payload", p->change->payload}, {"origin", p->change->origin},
                {"timestamp", p->change->timestamp}, {"reason", p->reason}, {"message", p->message},
                {"since", p->since});
    cs_buf_putc(b, '}');
    return CSYNC_OK;
}

static int list_parked(csync *c, void *ctx, csync_error *err)
{
    cs_buf_clear(ctx);
    return c->backend->ops->parked(c->backend, add_parked, ctx, err);
}

static int add_client(void *ctx, const cs_client *client, csync_error *err)
{
    cs_buf *b = &((listing *)ctx)->json;

    (void)err;
    cs_buf_puts(b, b->len ? ",{" : "{");
    PUT_MEMBERS(b, {"origin", client->origin});
    cs_buf_printf(b, ",\"version\":%lld,", (long long)client->version);
    PUT_MEMBERS(b, {"lastSync", client->last_sync}, {"created", client->created});
    cs_buf_puts(b, client->stale ? ",\"stale\":true}" : ",\"stale\":false}");
    return CSYNC_OK;
}

static int list_clients(csync *c, void *ctx, csync_error *err)
{
    listing *l = ctx;

    cs_buf_clear(&l->json);
    return c->backend->ops->clients(c->backend, l->limit, add_client, l, err);
}

static int add_conflict(void *ctx, const cs_conflict *conflict, csync_error *err)
{
    cs_buf *b = &((listing *)ctx)->json;

    (void)err;
    cs_buf_puts(b, b->len ? ",{" : "{");
    cs_buf_printf(b, "\"id\":%lld,", (long long)conflict->id);
    PUT_MEMBERS(b, {"at", conflict->at}, {"table", conflict->loser->table},
                {"pk", conflict->loser->pk}, {"strategy", conflict->strategy},
                {"decision", conflict->decision});
    cs_buf_puts(b, ",\"loser\":");
    cs_change_write(b, conflict->loser);
    cs_buf_puts(b, ",\"winner\":");
    cs_change_write(b, conflict->winner);
    cs_buf_putc(b, '}');
    return CSYNC_OK;
}

static int list_conflicts(csync *c, void *ctx, csync_error *err)
{
    listing *l = ctx;

    cs_buf_clear(&l->json);
    return c->backend->ops->conflicts(c->backend, l->since, l->limit, add_conflict, l, err);
}

static int add_holder(void *ctx, const cs_holder *h, csync_error *err)
{
    cs_buf *b = ctx;

    (void)err;
    cs_buf_printf(b, "%s{\"pid\":%lld,", b->len ? "," : "", (long long)h->pid);
    PUT_MEMBERS(b, {"user", h->user}, {"application", h->application}, {"state", h->state});
    cs_buf_puts(b, ",\"seconds\":");
    if (h->seconds < 0)
        cs_buf_puts(b, "null");
    else
        cs_buf_put_int(b, h->seconds);
    cs_buf_printf(b, ",\"version\":%lld,\"waiting\":%lld}", (long long)h->version,
                  (long long)h->waiting);
    return CSYNC_OK;
}

static int list_holders(csync *c, void *ctx, csync_error *err)
{
    cs_buf_clear(ctx);
    return c->backend->ops->lag(c->backend, add_holder, ctx, err);
}

static int add_advice(void *ctx, const cs_advice *a, csync_error *err)
{
    cs_buf *b = ctx;

    (void)err;
    cs_buf_puts(b, b->len ? ",{" : "{");
    PUT_MEMBERS(b, {"level", a->level}, {"subject", a->subject}, {"text", a->text},
                {"help", a->help});
    cs_buf_putc(b, '}');
    return CSYNC_OK;
}

static int examine(csync *c, void *ctx, csync_error *err)
{
    cs_buf_clear(ctx);
    return c->backend->ops->doctor(c->backend, add_advice, ctx, err);
}

typedef int (*transaction)(csync *c, cs_work work, void *ctx, csync_error *err);

/* The members that `work` writes in such a transaction, in brackets. */
static int as_array(csync *c, transaction run, cs_work work, void *ctx, cs_buf *members,
                    char **json, csync_error *err)
{
    cs_buf out = {0};
    int rc = run(c, work, ctx, err);

    if (rc == CSYNC_OK)
        rc = cs_buf_check(members, err);
    if (rc == CSYNC_OK) {
        cs_buf_putc(&out, '[');
        cs_buf_put(&out, members->data, members->len);
        cs_buf_putc(&out, ']');
        *json = cs_buf_take(&out, err);
        rc = *json ? CSYNC_OK : CSYNC_ENOMEM;
    }
    cs_buf_free(&out);
    cs_buf_free(members);
    return rc;
}

int cs_report_tables(csync *c, char **json, csync_error *err)
{
    cs_buf members = {0};

    return as_array(c, cs_replica_read, list_tables, &members, &members, json, err);
}

int cs_report_parked(csync *c, char **json, csync_error *err)
{
    cs_buf members = {0};

    return as_array(c, cs_replica_read, list_parked, &members, &members, json, err);
}

int cs_report_conflicts(csync *c, int64_t since, int limit, char **json, csync_error *err)
{
    listing l = {{0}, since, limit};

    return as_array(c, cs_replica_read, list_conflicts, &l, &l.json, json, err);
}

int cs_report_clients(csync *c, int stale_days, char **json, csync_error *err)
{
    listing l = {{0}, 0, stale_days};

    return as_array(c, cs_replica_read, list_clients, &l, &l.json, json, err);
}

int cs_report_lag(csync *c, char **json, csync_error *err)
{
    cs_buf members = {0};

    return as_array(c, cs_replica_look, list_holders, &members, &members, json, err);
}

int cs_report_doctor(csync *c, char **json, csync_error *err)
{
    cs_buf members = {0};

    return as_array(c, cs_replica_look, examine, &members, &members, json, err);
}
