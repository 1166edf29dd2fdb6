/* rules.h - the rules of the protocol, each of which the simulator can switch off to see that it notices.
 *
 * A simulator that finds nothing proves something only if it finds what is broken: `script/sim --ablate` takes
 * the rules away one by one. In the library CS_RULE is 1 and costs nothing. */
#ifndef CS_RULES_H
#define CS_RULES_H

/* name, what holds because of it */
#define CS_RULES(X)                                                                                \
    X(EPOCH, "a position counts only in the log that gave it out")                                 \
    X(ASOF, "... whose end, when it was given out, is still there")                                \
    X(CONTINUE, "a batch counts only if it continues exactly the position")                        \
    X(HEADS_ONLY, "what a later change has replaced is not sent")                                  \
    X(ACKNOWLEDGED, "nothing is forgotten that a client may still need")                           \
    X(LOG_FLOOR, "a trimmed log does not answer positions before its floor")                       \
    X(TOMBSTONE_FLOOR, "an unknown old row of somebody who has not seen our deletes is deleted")   \
    X(TAKEN, "... and so is one that was taken from its author before, whoever sends it")          \
    X(UNSEEN, "old rows that a snapshot lacks were deleted there")                                 \
    X(INHERIT, "who read a snapshot is as careful as its maker with what others have not heard")   \
    X(WHOLE, "what position and log cannot bridge, all heads do")                                  \
    X(OFFER_AGAIN, "what a restored peer may have lost is offered to it again")                    \
    X(COMPARE, "a push that compares is refused where the row is another than its base")           \
    X(LINEAGE, "... also where its maker wrote it before his file was copied")                     \
    X(STOP_AT_CONFLICT, "the position stops before the first conflict")                            \
    X(COPY_ORIGIN, "a copied file gets an origin of its own")                                      \
    X(TICK, "the clock of local stamps never goes back, whatever the wall clock does")             \
    X(RAISE_CLOCK, "applying a change raises the clock above its stamp")                           \
    X(OWN_STAMPS, "... and so does a stamp that csync itself gives out")                           \
    X(COPY_CLOCK, "the clock of a copied file passes the stamps of its former origin")             \
    X(RELAY, "what is applied is logged, so that it travels on")                                   \
    X(STAMP, "a change keeps the stamp that its author gave it")                                   \
    X(BEATS, "a change is applied only if it beats the row's head")                                \
    X(TIE, "equal timestamps are ordered by origin and seq")                                       \
    X(SUPPRESS, "what csync writes is not captured as an edit")                                    \
    X(SAME_TX, "the position is committed with the changes that it covers")                        \
    X(PEER, "each peer has a position of its own")                                                 \
    X(HASH, "a batch whose hash and content differ is refused")                                    \
    X(ACTIONS, "what a foreign key did to other rows is captured")                                 \
    X(PARK_CHILDREN, "rows whose parent leaves the table are parked with it")                      \
    X(PARK_EVICT, "of two rows that exclude each other the later one is visible")                  \
    X(PARK_RETRY, "what is parked is tried again")                                                 \
    X(SCHEMA_RETRY, "... also when its table has changed")                                         \
    X(SUPERSEDE, "a newer change takes the place of the parked one")                               \
    X(CONFLICT, "a strategy decides where two edits did not see each other")                       \
    X(PENDING, "which edits the peer has is asked of this log, not of one before a restore")       \
    X(BASE, "an edit of the row that the peer has is no conflict")

#define CS_RULE_ENUM(name, why) CS_RULE_##name,
enum { CS_RULES(CS_RULE_ENUM) CS_RULE_COUNT };
#undef CS_RULE_ENUM

#ifdef CSYNC_SIM
extern unsigned long cs_rules_off; /* bit i: rule i is off; defined by the simulator */
#define CS_RULE(name) (!(cs_rules_off >> CS_RULE_##name & 1ul))
#else
#define CS_RULE(name) 1
#endif
#endif
