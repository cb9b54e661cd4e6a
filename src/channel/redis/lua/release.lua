-- Gives a lease's messages back to the oldest end of the list they came from, in their order.
--
-- KEYS: the sorted set of leases, the lease, its mark of loss, the list, a key that is never there
-- ARGV: lease's name, "held", "in doubt" or "expired", how long the mark of loss stays in ms
-- Answers with the number of messages; -1 when the lease is not registered (or, "expired", has been renewed);
-- -2 when it is not registered because it was taken back after it had expired, or given back in doubt.
local expiry = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not expiry then
  return redis.call('EXISTS', KEYS[3]) == 1 and -2 or -1
end
if ARGV[2] == 'expired' then
  local now = redis.call('TIME')
  if tonumber(expiry) > now[1] * 1000 + math.floor(now[2] / 1000) then
    return -1
  end
end
local count, waiting = redis.call('LLEN', KEYS[2]), redis.call('LLEN', KEYS[4])
-- What could fail is tried first: see take.lua.
redis.call('ZREM', KEYS[1], '')
redis.call('UNLINK', KEYS[5])
redis.call('SET', KEYS[5], '', 'XX')
if count > 0 and waiting == 0 then
  redis.call('RENAME', KEYS[2], KEYS[4])
elseif count > 0 then
  for from = 0, count - 1, 100 do
    redis.call('RPUSH', KEYS[4], unpack(redis.call('LRANGE', KEYS[2], from, from + 99)))
  end
  redis.call('UNLINK', KEYS[2])
end
if ARGV[2] ~= 'held' then
  -- Expired: so that its holder, should it only have been asleep, learns that another agent has the messages.
  -- In doubt: so that, should this answer be lost, the next attempt does not take it for done by the completion.
  redis.call('SET', KEYS[3], '1', 'PX', ARGV[3])
end
redis.call('ZREM', KEYS[1], ARGV[1])
return count
