/* rng.c - splitmix64: every draw depends on the seed alone. */
#include "sim.h"

rng rng_of(uint64_t seed)
{
    rng r = {seed};

    (void)rng_next(&r);
    return r;
}

uint64_t rng_next(rng *r)
{
    uint64_t z = r->state += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

unsigned rng_below(rng *r, unsigned n)
{
    return (unsigned)((rng_next(r) >> 32) * n >> 32);
}

int rng_range(rng *r, int from, int to)
{
    return from + (int)rng_below(r, (unsigned)(to - from + 1));
}

int rng_chance(rng *r, unsigned percent)
{
    return rng_below(r, 100) < percent;
}
