--- csync.Subscription: being told of changes.

local core = require("csync.core")

local Subscription = core.Subscription

--- The next changes, a Batch; nil alone: there are none within `timeout` seconds (0: do not wait; nil: wait for ever).
function Subscription:next(timeout)
    if timeout then
        return self:_next(math.max(0, math.min(math.ceil(timeout * 1000), 2 ^ 31 - 1)))
    end
    while true do -- a signal ends the core's wait early
        local batch, message, code, detail = self:_next(-1)
        if batch or message then
            return batch, message, code, detail
        end
    end
end

--- `for change in feed:each() do`: waits for each change. Ends when the subscription is closed; a failure is raised.
function Subscription:each()
    local batch, i = nil, 0
    return function()
        i = i + 1
        while not batch or not batch[i] do
            if self.closed then
                return nil
            end
            local found, message = self:next()
            if not found then
                error(message, 2)
            end
            batch, i = found, 1
        end
        return batch[i]
    end
end
