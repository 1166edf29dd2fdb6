/* rules.h - the rules of the protocol, each of which the simulator can switch off to see that it notices.
 *
 * In the library CS_RULE is 1 and costs nothing; only the simulator's own build has the switches. */
#ifndef CS_RULES_H
#define CS_RULES_H

enum cs_rule {
    CS_RULE_EPOCH, /* a position counts only in the log that gave it out */
    CS_RULE_ASOF, /* ... whose end, when it was given out, is still there */
    CS_RULE_CONTINUE, /* a batch counts only if it continues exactly the position */
    CS_RULE_HEADS_ONLY, /* what a later change has replaced is not sent */
    CS_RULE_ACKNOWLEDGED, /* nothing is forgotten that a client may still need */
    CS_RULE_LOG_FLOOR, /* a trimmed log does not answer positions before its floor */
    CS_RULE_TOMBSTONE_FLOOR, /* an unknown old row of somebody who has not seen our deletes was deleted here */
    CS_RULE_UNSEEN, /* old rows that a snapshot lacks were deleted there */
    CS_RULE_WHOLE, /* what position and log cannot bridge, all heads do */
    CS_RULE_COMPARE, /* a push that compares is refused where the row is another than its base */
    CS_RULE_STOP_AT_CONFLICT, /* the position stops before the first conflict */
    CS_RULE_COPY_ORIGIN, /* a copied file gets an origin of its own */
    CS_RULE_FIRST_FREE /* the simulator's branch goes on here */
};

#ifdef CSYNC_SIM
extern unsigned long cs_rules_off; /* bit i: rule i is off */
#define CS_RULE(name) (!(cs_rules_off >> CS_RULE_##name & 1ul))
#else
#define CS_RULE(name) 1
#endif
#endif
