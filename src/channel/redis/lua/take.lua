-- Moves the oldest messages of a list into a lease and answers with them, oldest first.
--
-- KEYS: the sorted set of leases, the lease, the list to take from, the list of adopted messages
-- ARGV: lease's name, its duration in ms, at most so many messages, at most so many bytes, "first" or "more",
--       "adopted-first" or ""
-- Answers with an array of messages; -1 when the lease is not registered any more; -2 when adopted messages go first.
local registered = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ARGV[5] == 'more' and not registered then
  return -1
end
if ARGV[6] == 'adopted-first' and redis.call('EXISTS', KEYS[4]) == 1 then
  return -2
end
local most, room = tonumber(ARGV[3]), tonumber(ARGV[4])
local taken, bytes, step = {}, 0, 10
while #taken < most do
  -- A hundred at a time is the cheapest. The first few tell how large messages are here, so that no
  -- more is read than there is room for.
  local want = math.min(step, most - #taken)
  if #taken > 0 then
    want = math.min(want, math.floor(room * #taken / math.max(bytes, 1)) + 1)
  end
  local chunk = redis.call('LRANGE', KEYS[3], -want, -1)
  local from = #taken + 1
  for i = #chunk, 1, -1 do
    local size = #chunk[i]
    if size > room and (#taken > 0 or ARGV[5] == 'more') then
      break
    end
    taken[#taken + 1] = chunk[i]
    bytes = bytes + size
    room = room - size
  end
  local count = #taken - from + 1
  if count > 0 then
    if from == 1 then
      -- A script whose first write frees memory may go on writing when Redis is over its maxmemory. The agent
      -- must be able to drain a Redis that its clients have filled.
      redis.call('ZREM', KEYS[1], '')
      local now = redis.call('TIME')
      redis.call('ZADD', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2], ARGV[1])
    end
    redis.call('LPUSH', KEYS[2], unpack(taken, from, #taken))
    redis.call('LTRIM', KEYS[3], 0, -count - 1)
  end
  if count < want or room <= 0 then
    break
  end
  step = math.min(step * 2, 100)
end
return taken
