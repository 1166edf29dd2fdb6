/* backend.c - what all backends share. */
#include "backend/backend.h"

#include <string.h>

#include "base/text.h"

void cs_item_refuse(cs_item *item, int status, const char *reason, const char *message)
{
    cs_text_copy(item->message, sizeof item->message, message);
    item->status = status;
    item->reason = reason;
}

int cs_backend_made(const cs_backend *b, const csync_change *change)
{
    return strcmp(change->origin, b->origin) == 0 ||
           (change->seq <= b->copied_at && strcmp(change->origin, b->copied_from) == 0);
}

cs_table *cs_backend_table(const cs_backend *b, const char *name, size_t len)
{
    size_t low = 0, high = b->table_count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strncmp(b->tables[mid]->name, name, len);

        if (order == 0 && b->tables[mid]->name[len] != 0)
            order = 1;
        if (order == 0)
            return b->tables[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}
