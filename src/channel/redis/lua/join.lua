-- Whether this agent's consumers are those of every other agent that is at work on the queue; if they are, it is at work until its
-- entry expires, and its consumers are known.
--
-- KEYS: the sorted set of agents, by expiry; the sorted set of consumers that the queue has had, by the time at which they were new
-- ARGV: this agent's entry, which ends with its consumers behind a bar, in how many ms it expires (0 to ask alone), its consumers with
--       commas, then each of them
-- Answers with 1, or with the consumers of an agent that has others.
local now = redis.call('TIME')
local by = now[1] * 1000 + math.floor(now[2] / 1000)
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. by, '+inf')) do
  local others = string.match(entry, '([^|]*)$')
  if others ~= ARGV[3] then
    return others
  end
end
if ARGV[2] ~= '0' then
  -- A write that needs no memory comes first: see take.lua.
  redis.call('ZREM', KEYS[1], '')
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', by)) do
    redis.call('ZREM', KEYS[1], entry)
  end
  redis.call('ZADD', KEYS[1], by + ARGV[2], ARGV[1])
  for i = 4, #ARGV do
    if not redis.call('ZSCORE', KEYS[2], ARGV[i]) then
      redis.call('ZADD', KEYS[2], by, ARGV[i])
    end
  end
end
return 1
