-- Gives a portion that was set apart another name, and so another destination.
--
-- KEYS: the portion, the portion under its new name, the set of portions
-- ARGV: the portion's name, its new name
-- Answers with 1, or 0 when there is no such portion any more.
if redis.call('SISMEMBER', KEYS[3], ARGV[1]) == 0 then
  return 0
end
local exists = redis.call('EXISTS', KEYS[1]) == 1
-- What could fail is tried first: see take.lua.
redis.call('SREM', KEYS[3], '')
if exists then
  redis.call('RENAME', KEYS[1], KEYS[1])
end
-- In this order, so that there is no list without its name in the set.
redis.call('SADD', KEYS[3], ARGV[2])
if exists then
  redis.call('RENAME', KEYS[1], KEYS[2])
end
redis.call('SREM', KEYS[3], ARGV[1])
return 1
