-- Gives a portion that was set apart another name, and so another destination.
--
-- KEYS: the portion, the portion under its new name, the set of portions
-- ARGV: the portion's name, its new name
-- Answers with 1, or 0 when there is no such portion any more.
-- The first write frees memory: see take.lua.
if redis.call('SREM', KEYS[3], ARGV[1]) == 0 then
  return 0
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('RENAME', KEYS[1], KEYS[2])
end
redis.call('SADD', KEYS[3], ARGV[2])
return 1
