/* position.c - where somebody stands in a replica's log. */
#include "model/position.h"

#include <string.h>

#include "base/text.h"

cs_position cs_position_make(int64_t version, const char *epoch)
{
    cs_position p = {version, ""};

    if (epoch)
        cs_text_copy(p.epoch, sizeof p.epoch, epoch);
    return p;
}

int cs_position_same(const cs_position *a, const cs_position *b)
{
    return a->version == b->version && strcmp(a->epoch, b->epoch) == 0;
}

const char *cs_position_epoch(const cs_position *position)
{
    return position->epoch[0] ? position->epoch : NULL;
}
