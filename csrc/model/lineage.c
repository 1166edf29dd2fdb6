/* lineage.c - whose copy a replica is. */
#include "model/lineage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "model/change.h"

typedef struct ancestor {
    char origin[CSYNC_ORIGIN_SIZE];
    int64_t version;
} ancestor;

/* Fills `out` with the line and returns the next one; NULL: this is none. */
static const char *read_line(const char *line, ancestor *out)
{
    char *origin;
    size_t len;

    errno = 0;
    out->version = strtoll(line, &origin, 10);
    if (errno || *line < '0' || *line > '9' || *origin++ != ' ')
        return NULL;
    len = strcspn(origin, "\n");
    if (len >= sizeof out->origin || !origin[len])
        return NULL;
    memcpy(out->origin, origin, len);
    out->origin[len] = 0;
    return cs_origin_check(out->origin, NULL) == CSYNC_OK ? origin + len + 1 : NULL;
}

int cs_lineage_check(const char *lineage)
{
    ancestor a;

    while (lineage && *lineage)
        lineage = read_line(lineage, &a);
    return lineage != NULL;
}

int cs_lineage_made(const char *lineage, const csync_change *change)
{
    ancestor a;

    while (lineage && *lineage) {
        lineage = read_line(lineage, &a);
        if (lineage && change->seq <= a.version && strcmp(change->origin, a.origin) == 0)
            return 1;
    }
    return 0;
}

void cs_lineage_add(char lineage[CS_LINEAGE_SIZE], const char *origin, int64_t version)
{
    char older[CS_LINEAGE_SIZE];
    int n;

    memcpy(older, lineage, sizeof older);
    n = snprintf(lineage, CS_LINEAGE_SIZE, "%lld %s\n", (long long)version, origin);
    cs_text_copy(lineage + n, (size_t)(CS_LINEAGE_SIZE - n), older);
    strrchr(lineage, '\n')[1] = 0; /* an origin that was cut off is nobody's */
}
