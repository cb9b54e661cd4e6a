-- Answers with the names of leases that have expired by Redis's own clock, the longest expired first.
--
-- KEYS: the sorted set of leases
-- ARGV: at most so many
local now = redis.call('TIME')
local by = now[1] * 1000 + math.floor(now[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', by, 'LIMIT', 0, ARGV[1])
