/* wire_outcome.c - outcomes <-> the wire form. */
#include <string.h>

#include "codec/value.h"
#include "codec/wire.h"
#include "codec/wire_reader.h"

/* ---- Writing ------------------------------------------------------------------------------------- */

static void write_item(cs_buf *out, const csync_outcome *outcome, const cs_outcome_item *item)
{
    cs_buf_printf(out, "{\"status\":\"%s\"", cs_outcome_name(item->status));
    if (*item->reason) {
        cs_buf_puts(out, ",\"reason\":");
        cs_put_string(out, item->reason, strlen(item->reason));
    }
    if (item->winner >= 0) {
        cs_buf_puts(out, ",\"winner\":");
        cs_change_write(out, &outcome->winners->items[item->winner].pub);
    }
    cs_buf_putc(out, '}');
}

void cs_outcome_write(cs_buf *out, const csync_outcome *outcome)
{
    cs_buf_puts(out, "{\"position\":");
    cs_buf_put_int(out, outcome->position);
    if (outcome->epoch) {
        cs_buf_puts(out, ",\"epoch\":");
        cs_put_string(out, outcome->epoch, strlen(outcome->epoch));
    }
    cs_buf_puts(out, ",\"outcomes\":[");
    for (size_t i = 0; i < outcome->count; i++) {
        if (i)
            cs_buf_putc(out, ',');
        write_item(out, outcome, &outcome->items[i]);
    }
    cs_buf_puts(out, "]}");
}

/* ---- Reading ------------------------------------------------------------------------------------- */

enum { STATUS, REASON, WINNER, ITEM_FIELDS };
static const cs_field item_fields[ITEM_FIELDS] = {
    {"\"status\":", 9}, {"\"reason\":", 9}, {"\"winner\":", 9}};

enum { POSITION, OUTCOMES, EPOCH, FIELDS };
static const cs_field fields[FIELDS] = {
    {"\"position\":", 11}, {"\"outcomes\":", 11}, {"\"epoch\":", 8}};

/* What is read of an entry before it is added. */
typedef struct entry {
    int status;
    const char *reason;
    ptrdiff_t winner;
} entry;

static int read_status(cs_reader *r, int *status)
{
    const char *from = r->s.p, *text;
    size_t len;

    text = cs_reader_text(r, &len);
    if (!text)
        return CSYNC_EINVAL;
    *status = cs_outcome_parse(text, len);
    if (*status != 0)
        return CSYNC_OK;
    r->s.p = from;
    return cs_scan_fault(&r->s, "this is no status");
}

static int read_item_field(cs_reader *r, int field, entry *e)
{
    size_t len;
    int rc;

    switch (field) {
    case STATUS:
        return read_status(r, &e->status);
    case REASON:
        e->reason = cs_reader_text(r, &len);
        return e->reason ? CSYNC_OK : CSYNC_EINVAL;
    default:
        rc = cs_reader_change(r, 3);
        e->winner = (ptrdiff_t)r->batch->count - 1;
        return rc;
    }
}

static int add_item(cs_reader *r, csync_outcome *outcome, const entry *e)
{
    cs_outcome_item *item;

    if (!e->status)
        return cs_scan_fault(&r->s, "\"status\" is missing");
    if (cs_outcome_add(outcome, e->status, e->reason, NULL, NULL) != CSYNC_OK)
        return cs_reader_nomem(r);
    item = &outcome->items[outcome->count - 1];
    item->winner = e->winner;
    return CSYNC_OK;
}

static int read_item(cs_reader *r, csync_outcome *outcome)
{
    int more = cs_reader_enter(r, '{'), expected = 0, field, rc;
    entry e = {0, "", -1};
    unsigned seen = 0;

    while (more == 1) {
        field = cs_reader_field(r, item_fields, ITEM_FIELDS, &expected, &seen, 3);
        if (field == -2)
            return CSYNC_EINVAL;
        if (field >= 0 && !cs_reader_null(r)) {
            rc = read_item_field(r, field, &e);
            if (rc != CSYNC_OK)
                return rc;
        }
        more = cs_reader_next(r, '}');
    }
    return more < 0 ? more : add_item(r, outcome, &e);
}

static int read_items(cs_reader *r, csync_outcome *outcome)
{
    int more = cs_reader_enter(r, '['), rc;

    while (more == 1) {
        r->item = "outcome";
        rc = read_item(r, outcome);
        if (rc != CSYNC_OK)
            return rc;
        r->item = NULL;
        r->index++;
        more = cs_reader_next(r, ']');
    }
    return more;
}

static int read_epoch(cs_reader *r, csync_outcome *outcome)
{
    cs_position position;
    size_t len;
    const char *text = cs_reader_text(r, &len);

    if (!text)
        return CSYNC_EINVAL;
    position = cs_position_make(outcome->position, text);
    return cs_outcome_stand(outcome, &position, NULL) == CSYNC_OK ? CSYNC_OK : cs_reader_nomem(r);
}

static int read_outcome(cs_reader *r, csync_outcome *outcome)
{
    int more = cs_reader_enter(r, '{'), expected = 0, field, rc = CSYNC_OK;
    unsigned seen = 0;

    while (more == 1) {
        field = cs_reader_field(r, fields, FIELDS, &expected, &seen, 1);
        if (field == -2)
            return CSYNC_EINVAL;
        if (field == POSITION)
            rc = cs_reader_count(r, &outcome->position);
        if (field == OUTCOMES)
            rc = read_items(r, outcome);
        if (field == EPOCH && !cs_reader_null(r))
            rc = read_epoch(r, outcome);
        if (rc != CSYNC_OK)
            return rc;
        more = cs_reader_next(r, '}');
    }
    if (more < 0)
        return more;
    if (!(seen & 1u << POSITION) || !(seen & 1u << OUTCOMES))
        return cs_scan_fault(&r->s, "\"position\" or \"outcomes\" is missing");
    return cs_scan_finish(&r->s);
}

static int read_into(csync_outcome *outcome, const char *json, size_t len, csync_error *err)
{
    cs_reader r;
    int rc;

    outcome->winners = cs_batch_create();
    if (!outcome->winners)
        return cs_fail_nomem(err);
    rc = cs_reader_open(&r, outcome->winners, json, len, err);
    if (rc != CSYNC_OK)
        return rc;
    rc = read_outcome(&r, outcome);
    return rc == CSYNC_OK ? CSYNC_OK : cs_reader_fail(&r, "outcome JSON", err);
}

int cs_outcome_read(csync_outcome **out, const char *json, size_t len, csync_error *err)
{
    csync_outcome *outcome = cs_outcome_create();
    int rc;

    *out = NULL;
    if (!outcome)
        return cs_fail_nomem(err);
    rc = read_into(outcome, json, len, err);
    if (rc != CSYNC_OK) {
        cs_outcome_destroy(outcome);
        return rc;
    }
    if (outcome->winners->count == 0) {
        cs_batch_destroy(outcome->winners);
        outcome->winners = NULL;
    }
    *out = outcome;
    return CSYNC_OK;
}
