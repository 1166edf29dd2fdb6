/* form.h - the canonical form of a table's rows and keys: what hashes and digests are over. It depends neither on
 * the order of the columns nor on the replica. */
#ifndef CS_FORM_H
#define CS_FORM_H
#include "codec/value.h"
#include "model/table.h"

typedef struct cs_form {
    size_t count; /* of members */
    size_t *order; /* the column of each, members in canonical order */
    cs_buf *names; /* `"name":` of each */
} cs_form; /* zero-initialised is closed */

/* `only_key`: the form of the key. Settled once per table; the table may go afterwards. */
int cs_form_open(cs_form *form, const cs_table *table, int only_key, csync_error *err);
/* Appends the JSON object; `values` are all of a row's, in the table's column order. */
void cs_form_put(const cs_form *form, const cs_value *values, cs_buf *out);
void cs_form_close(cs_form *form);
#endif
