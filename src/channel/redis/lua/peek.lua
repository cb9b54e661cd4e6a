-- Shows messages of a list, the oldest first, and changes nothing. Those that are too large are left out.
--
-- KEYS: the list
-- ARGV: how many of the oldest were seen before, at how many to look now, after how many bytes to stop, the largest message in bytes
-- Answers with texts: how many were seen by now, then the messages.
local seen, room, largest = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local last, answer = seen + tonumber(ARGV[2]), {0}
while seen < last and room > 0 do
  local message = redis.call('LINDEX', KEYS[1], -1 - seen)
  if not message then
    break
  end
  seen = seen + 1
  if #message <= largest then
    answer[#answer + 1] = message
    room = room - #message
  end
end
answer[1] = string.format('%.0f', seen)
return answer
