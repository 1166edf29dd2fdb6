/* api_subscribe.c - the public entry points of subscriptions. */
#include "base/options.h"
#include "sync/subscribe.h"

int csync_subscribe(csync_subscription **out, csync *replica,
                    const csync_subscribe_options *options, csync_error *err)
{
    csync_subscribe_options o;
    int rc;

    if (out)
        *out = NULL;
    rc = cs_replica_enter(replica, err);
    if (rc != CSYNC_OK)
        return rc;
    rc = out ? CS_OPTIONS_IN(&o, options, err) : cs_fail(err, CSYNC_EMISUSE, "out is NULL");
    if (rc == CSYNC_OK)
        rc = cs_subscription_create(out, replica, &o, err);
    return cs_replica_leave(replica, rc, err);
}

int csync_subscription_next(csync_subscription *subscription, int timeout_ms, csync_batch **out,
                            csync_error *err)
{
    cs_error_clear(err);
    if (out)
        *out = NULL;
    if (!subscription || !out)
        return cs_fail(err, CSYNC_EMISUSE, "subscription or out is NULL");
    if (timeout_ms < -1)
        return cs_fail(err, CSYNC_EINVAL, "timeout_ms is %d; -1 waits for ever", timeout_ms);
    return cs_subscription_next(subscription, timeout_ms, out, err);
}

int csync_subscription_fd(const csync_subscription *subscription)
{
    return subscription ? cs_subscription_fd(subscription) : -1;
}

void csync_subscription_wake(csync_subscription *subscription)
{
    if (subscription)
        cs_subscription_wake(subscription);
}

const char *csync_subscription_id(const csync_subscription *subscription)
{
    return subscription ? cs_subscription_id(subscription) : NULL;
}

int64_t csync_subscription_version(const csync_subscription *subscription)
{
    return subscription ? cs_subscription_version(subscription) : 0;
}

void csync_subscription_close(csync_subscription *subscription)
{
    cs_subscription_close(subscription);
}

int csync_unsubscribe(csync *replica, const char *id, csync_error *err)
{
    int rc = cs_replica_enter(replica, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = id ? cs_subscription_forget(replica, id, err) : cs_fail(err, CSYNC_EMISUSE, "id is NULL");
    return cs_replica_leave_quietly(replica, rc, err);
}
