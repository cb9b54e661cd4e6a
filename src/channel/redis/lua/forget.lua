-- Lets a consumer go with all that waits for it, unless an agent that is at work has it.
--
-- KEYS: the sorted set of agents, the sorted set of consumers, the consumer's list, its adopted messages, its sorted set of leases,
--       its stream of dead letters
-- ARGV: its name, how the names of its leases' lists begin
-- Answers with how many messages and how many dead letters are gone; -1 when an agent has it; -2 when there is none of that name.
local now = redis.call('TIME')
local by = now[1] * 1000 + math.floor(now[2] / 1000)
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. by, '+inf')) do
  for name in string.gmatch(string.match(entry, '([^|]*)$'), '[^,]+') do
    if name == ARGV[1] then
      return -1
    end
  end
end
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  return -2
end
local messages, letters = redis.call('LLEN', KEYS[3]) + redis.call('LLEN', KEYS[4]), redis.call('XLEN', KEYS[6])
for _, lease in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', '+inf')) do
  messages = messages + redis.call('LLEN', ARGV[2] .. lease)
  redis.call('UNLINK', ARGV[2] .. lease)
end
redis.call('UNLINK', KEYS[3], KEYS[4], KEYS[5], KEYS[6])
redis.call('ZREM', KEYS[2], ARGV[1])
return {messages, letters}
