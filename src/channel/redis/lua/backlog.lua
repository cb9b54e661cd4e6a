-- Counts what waits, leased or not, and says when the oldest messages were queued, by their clients' clocks. Changes nothing.
--
-- KEYS: lists, and with leases the stream of dead letters and the sorted set of leases
-- ARGV: how the names of the leases' lists begin, or nothing for the lists alone; how many leases were looked at before, at how
--       many to look now, how many bytes of messages to look at
-- Answers with texts: Redis's own time in s; how many messages the lists have together, how many dead letters there are; at how
-- many leases it has looked, and how many messages those have; then for the oldest of each list serialized_at and
-- timestamp_format, unless it does not say. Clients write both at the end, or at the beginning if they do not care for the order:
-- a large message is not searched through, and not sent.
local answer = {redis.call('TIME')[1], 0, 0, 0, 0}
local lists, bytes = #KEYS, tonumber(ARGV[4])

local function look(list)
  if bytes <= 0 then
    return
  end
  local message = redis.call('LINDEX', list, -1)
  if not message then
    return
  end
  bytes = bytes - #message
  local ends = string.sub(message, 1, 500) .. '\n' .. string.sub(message, -500)
  local at = string.match(ends, '"serialized_at"%s*:%s*"([^"\\]+)"')
  local format = string.match(ends, '"timestamp_format"%s*:%s*"([^"\\]+)"')
  if at and format then
    answer[#answer + 1] = at
    answer[#answer + 1] = format
  end
end

local names = {}
if ARGV[1] ~= '' then
  lists = #KEYS - 2
  answer[3] = redis.call('XLEN', KEYS[#KEYS - 1])
  names = redis.call('ZRANGEBYSCORE', KEYS[#KEYS], '-inf', '+inf', 'LIMIT', ARGV[2], ARGV[3])
end
for i = 1, lists do
  answer[2] = answer[2] + redis.call('LLEN', KEYS[i])
  look(KEYS[i])
end
answer[4] = #names
for _, name in ipairs(names) do
  local list = ARGV[1] .. name
  answer[5] = answer[5] + redis.call('LLEN', list)
  look(list)
end
for i = 1, 5 do
  answer[i] = string.format('%.0f', answer[i])
end
return answer
