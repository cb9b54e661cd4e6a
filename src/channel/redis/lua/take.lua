-- Moves the oldest messages of a list into a lease and answers with them, oldest first. When the oldest one is too large
-- it is set aside as a dead letter instead, without being sent, and nothing else is done.
--
-- KEYS: the sorted set of leases, the lease, the list to take from, the list of adopted messages, the stream of dead
--       letters
-- ARGV: lease's name, its duration in ms, at most so many messages, at most so many bytes, how many messages of the lease have come
--       before, "adopted-first" or "", the largest message in bytes, agent, time, how many dead letters are kept
-- Answers with an array: how many messages were set aside, how many dead letters were dropped for it, the messages;
-- -1 when the lease is not registered any more, or a failover has undone some of it; -2 when adopted messages go first.
--
-- A script that fails half-way is not undone, and any right may be taken from the user at any time. So each script makes
-- every write that could be refused after another one in a form that changes nothing first. Here that is LTRIM, without
-- which each run would copy messages instead of moving them.
-- It also comes first because it is a write that never needs memory: after such a one Redis lets a script go on though
-- it is over its maxmemory, and the agent must be able to drain a Redis that its clients have filled.
local had, has, registered = tonumber(ARGV[5]), redis.call('LLEN', KEYS[2]), redis.call('ZSCORE', KEYS[1], ARGV[1])
if had > 0 and not (registered and has == had) then
  return -1
end
if ARGV[6] == 'adopted-first' and redis.call('EXISTS', KEYS[4]) == 1 then
  return -2
end
local most, room, largest = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[7])

local function set_aside(message)
  local kind = redis.call('TYPE', KEYS[5]).ok
  if kind ~= 'none' and kind ~= 'stream' then
    return redis.error_reply('WRONGTYPE Operation against a key holding the wrong kind of value')
  end
  local before = redis.call('XLEN', KEYS[5])
  redis.call('LTRIM', KEYS[3], 0, -1)
  redis.call('XADD', KEYS[5], 'MAXLEN', '=', ARGV[10], '*', 'payload', message, 'reason',
    string.format('the message has %d bytes, and channel.redis.max_message_bytes allows %d', #message, largest),
    'refused', '[]', 'agent', ARGV[8], 'time', ARGV[9])
  redis.call('LTRIM', KEYS[3], 0, -2)
  return {1, before + 1 - redis.call('XLEN', KEYS[5])}
end

local answer, taken, bytes, step = {0, 0}, 0, 0, 1
while taken < most do
  -- A hundred at a time is the cheapest. The first few tell how large messages are here, so that no
  -- more is read than there is room for.
  local want = math.min(step, most - taken)
  if taken > 0 then
    want = math.min(want, math.floor(room * taken / math.max(bytes, 1)) + 1)
  end
  local chunk = redis.call('LRANGE', KEYS[3], -want, -1)
  if taken == 0 and chunk[1] and #chunk[1] > largest then
    return set_aside(chunk[1])
  end
  local count, full = 0, false
  for i = #chunk, 1, -1 do
    local size = #chunk[i]
    -- One that is too large is dealt with when it is the oldest.
    if size > largest or (size > room and (taken + count > 0 or had > 0)) then
      full = true
      break
    end
    count = count + 1
    answer[2 + taken + count] = chunk[i]
    bytes = bytes + size
    room = room - size
  end
  if count > 0 then
    if taken == 0 then
      redis.call('LTRIM', KEYS[3], 0, -1)
      local now = redis.call('TIME')
      redis.call('ZADD', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2], ARGV[1])
    end
    redis.call('LPUSH', KEYS[2], unpack(answer, 3 + taken, 2 + taken + count))
    redis.call('LTRIM', KEYS[3], 0, -count - 1)
    taken = taken + count
  end
  if full or count < want or room <= 0 then
    break
  end
  step = math.min(step * 2, 100)
end
return answer
