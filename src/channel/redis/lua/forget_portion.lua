-- Deletes a portion that has arrived elsewhere.
--
-- KEYS: the portion, the set of portions
-- ARGV: the portion's name
-- In this order, so that there is no list without its name in the set.
local deleted = redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[2], ARGV[1])
return deleted
