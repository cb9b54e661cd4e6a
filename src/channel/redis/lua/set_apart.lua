-- Moves the oldest messages of a list into a portion of its own, which nobody but its mover knows. An oldest message
-- that is too large becomes a dead letter instead, as when messages are taken, and nothing else is done.
--
-- KEYS: the list to take from, the portion, the set of portions, the stream of dead letters
-- ARGV: the portion's name, at most so many messages, at most so many bytes, the largest message in bytes, agent, time,
--       how many dead letters are kept
-- Answers with the number of messages moved; 0 when there are none; -1 when one was set aside.
local most, room, largest = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local moved, bytes, step = 0, 0, 1
while moved < most and room > 0 do
  -- The first few tell how large messages are here: see take.lua.
  local want = math.min(step, most - moved)
  if moved > 0 then
    want = math.min(want, math.floor(room * moved / math.max(bytes, 1)) + 1)
  end
  local chunk = redis.call('LRANGE', KEYS[1], -want, -1)
  if moved == 0 and chunk[1] and #chunk[1] > largest then
    local kind = redis.call('TYPE', KEYS[4]).ok
    if kind ~= 'none' and kind ~= 'stream' then
      return redis.error_reply('WRONGTYPE Operation against a key holding the wrong kind of value')
    end
    redis.call('LTRIM', KEYS[1], 0, -1)
    redis.call('XADD', KEYS[4], 'MAXLEN', '=', ARGV[7], '*', 'payload', chunk[1], 'reason',
      string.format('the message has %d bytes, and channel.embedded.max_message_bytes allows %d', #chunk[1], largest),
      'refused', '[]', 'agent', ARGV[5], 'time', ARGV[6])
    redis.call('LTRIM', KEYS[1], 0, -2)
    return -1
  end
  local oldest_first = {}
  for i = #chunk, 1, -1 do
    local size = #chunk[i]
    if size > largest or (size > room and moved + #oldest_first > 0) then
      room = 0
      break
    end
    oldest_first[#oldest_first + 1] = chunk[i]
    room, bytes = room - size, bytes + size
  end
  if #oldest_first == 0 then
    break
  end
  if moved == 0 then
    -- What could fail is tried first: see take.lua.
    redis.call('LTRIM', KEYS[1], 0, -1)
    redis.call('SADD', KEYS[3], ARGV[1])
  end
  redis.call('LPUSH', KEYS[2], unpack(oldest_first))
  redis.call('LTRIM', KEYS[1], 0, -#oldest_first - 1)
  moved = moved + #oldest_first
  step = math.min(step * 2, 100)
end
return moved
