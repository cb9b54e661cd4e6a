-- Deletes a portion that has arrived elsewhere.
--
-- KEYS: the portion, the set of portions
-- ARGV: the portion's name
redis.call('SREM', KEYS[2], ARGV[1])
return redis.call('DEL', KEYS[1])
