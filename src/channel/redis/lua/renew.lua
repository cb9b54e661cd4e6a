-- Moves the expiry of leases that are still registered.
--
-- KEYS: the sorted set of leases
-- ARGV: duration in ms, then the leases' names
-- Answers with the places (from 1) of the names that are not registered.
local now = redis.call('TIME')
local expiry = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[1]
local gone = {}
-- A write that needs no memory comes first: see take.lua. No name is taken out to be put back: with the last one the
-- sorted set goes too, and where ZADD is refused then, the lists would be in no set.
redis.call('ZREM', KEYS[1], '')
for i = 2, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], 'XX', expiry, ARGV[i])
  else
    gone[#gone + 1] = i - 1
  end
end
return gone
