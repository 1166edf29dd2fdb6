/* stamp.c - the order of stamps. */
#include <string.h>

#include "model/stamp.h"

int cs_stamp_compare(const cs_stamp *a, const cs_stamp *b)
{
    int order;

    if (a->ts != b->ts)
        return a->ts < b->ts ? -1 : 1;
    order = strcmp(a->origin, b->origin); /* compares as unsigned char */
    if (order != 0)
        return order;
    return (a->seq > b->seq) - (a->seq < b->seq);
}
