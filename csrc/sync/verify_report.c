/* verify_report.c - what a comparison found, as JSON. */
#include <string.h>

#include "codec/value.h"
#include "sync/verify.h"

static const char *const kinds[] = {"differs", "missing here", "missing there"};
static const char *const heads[] = {"none", "live", "deleted", "parked"};

static void put_text(cs_buf *b, const char *name, const char *text)
{
    cs_buf_printf(b, "\"%s\":", name);
    cs_put_string(b, text, strlen(text));
}

static void put_count(cs_buf *b, const char *name, int is_known, int64_t count)
{
    cs_buf_printf(b, ",\"%s\":", name);
    if (is_known)
        cs_buf_put_int(b, count);
    else
        cs_buf_puts(b, "null");
}

static const char *note_of(const cs_tally *t)
{
    if (!t->is_here)
        return "tracked there only";
    if (!t->is_there)
        return "tracked here only";
    return t->has_other_shape ? "other columns" : "";
}

static void put_tally(cs_buf *b, const cs_tally *t)
{
    cs_buf_putc(b, '{');
    put_text(b, "table", t->table);
    put_count(b, "rows", t->is_here, t->rows);
    put_count(b, "peerRows", t->is_there, t->peer_rows);
    put_count(b, "differs", 1, t->counts[CS_DIFFERS]);
    put_count(b, "missingHere", 1, t->counts[CS_MISSING_HERE]);
    put_count(b, "missingThere", 1, t->counts[CS_MISSING_THERE]);
    cs_buf_putc(b, ',');
    put_text(b, "note", note_of(t));
    cs_buf_putc(b, '}');
}

static void put_side(cs_buf *b, const char *name, const cs_row_state *s)
{
    cs_buf_printf(b, ",\"%s\":{\"head\":\"%s\"", name, heads[s->head]);
    if (s->head != CS_HEAD_NONE) {
        cs_buf_putc(b, ',');
        put_text(b, "timestamp", s->timestamp);
        cs_buf_putc(b, ',');
        put_text(b, "origin", s->origin);
        put_count(b, "seq", 1, s->seq);
    }
    cs_buf_putc(b, '}');
}

static void put_difference(cs_buf *b, const cs_difference *d)
{
    cs_buf_putc(b, '{');
    put_text(b, "table", d->table);
    cs_buf_putc(b, ',');
    put_text(b, "pk", d->pk);
    cs_buf_putc(b, ',');
    put_text(b, "kind", kinds[d->kind]);
    put_side(b, "local", &d->mine);
    put_side(b, "remote", &d->theirs);
    cs_buf_putc(b, ',');
    put_text(b, "explained", d->explained);
    cs_buf_printf(b, ",\"repaired\":%s,", d->is_repaired ? "true" : "false");
    put_text(b, "reason", d->reason ? d->reason : "");
    cs_buf_putc(b, '}');
}

int cs_verify_report(const cs_verify *v, char **report, csync_error *err)
{
    cs_buf b = {0};

    cs_buf_printf(&b, "{\"equal\":%s,\"tables\":[", v->is_equal ? "true" : "false");
    for (size_t i = 0; i < v->tally_count; i++) {
        cs_buf_puts(&b, i ? "," : "");
        put_tally(&b, &v->tallies[i]);
    }
    cs_buf_puts(&b, "],\"rows\":[");
    for (size_t i = 0; i < v->difference_count; i++) {
        cs_buf_puts(&b, i ? "," : "");
        put_difference(&b, &v->differences[i]);
    }
    cs_buf_printf(
        &b, "],\"found\":%lld,\"repaired\":%lld,\"compared\":{\"rounds\":%lld,\"bytes\":%lld}}",
        (long long)v->found, (long long)v->repaired, (long long)v->rounds, (long long)v->bytes);
    *report = NULL;
    if (cs_buf_check(&b, err) != CSYNC_OK) {
        int rc = b.failed;

        cs_buf_free(&b);
        return rc;
    }
    *report = cs_buf_take(&b, err);
    return CSYNC_OK;
}
