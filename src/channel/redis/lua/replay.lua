-- Queues a dead letter anew, as it was: from now on it waits, and is no dead letter any more.
--
-- KEYS: the stream of dead letters, the list that the message goes to
-- ARGV: the letter's identifier
-- Answers with 1; 0 when there is no such letter; -1 when it has no message.
local letter = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not letter then
  return 0
end
local kind = redis.call('TYPE', KEYS[2]).ok
if kind ~= 'none' and kind ~= 'list' then
  return redis.error_reply('WRONGTYPE Operation against a key holding the wrong kind of value')
end
for i = 1, #letter[2], 2 do
  if letter[2][i] == 'payload' then
    -- What frees memory comes first: see take.lua.
    redis.call('XDEL', KEYS[1], ARGV[1])
    redis.call('LPUSH', KEYS[2], letter[2][i + 1])
    return 1
  end
end
return -1
