-- Moves the expiry of leases that are still registered.
--
-- KEYS: the sorted set of leases
-- ARGV: duration in ms, then the leases' names
-- Answers with the places (from 1) of the names that are not registered.
-- ZREM before ZADD rather than ZADD XX: the first write frees memory, see take.lua.
local now = redis.call('TIME')
local expiry = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[1]
local gone = {}
for i = 2, #ARGV do
  if redis.call('ZREM', KEYS[1], ARGV[i]) == 1 then
    redis.call('ZADD', KEYS[1], expiry, ARGV[i])
  else
    gone[#gone + 1] = i - 1
  end
end
return gone
