-- Registers lists of messages that belong to no registered lease, so that they are taken back once that has expired. None
-- is ever there while all goes well: a lease is registered before its list is made, and until its list is gone. Older
-- versions could leave such lists, and lists and streams of what they had tried, which are deleted.
--
-- KEYS: the sorted set of leases, then the lists
-- ARGV: in how many ms they expire, then the name of each list's lease
-- Answers with the number of messages that were registered.
local now = redis.call('TIME')
local expiry = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[1]
local messages = 0
for i = 2, #KEYS do
  if not redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    local kind, tried = redis.call('TYPE', KEYS[i]).ok, false
    local count = kind == 'list' and redis.call('LLEN', KEYS[i]) or 0
    if kind == 'list' and count <= 2 then
      -- One empty message, or two of them.
      tried = table.concat(redis.call('LRANGE', KEYS[i], 0, -1)) == ''
    end
    if tried or kind == 'stream' then
      redis.call('UNLINK', KEYS[i])
    elseif kind == 'list' then
      -- A write that needs no memory comes first: see take.lua.
      redis.call('ZREM', KEYS[1], '')
      redis.call('ZADD', KEYS[1], expiry, ARGV[i])
      messages = messages + count
    end
  end
end
return messages
