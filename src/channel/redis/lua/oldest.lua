-- When the oldest message of a list was queued, by its client's clock.
--
-- KEYS: the list
-- Answers with Redis's own time in s, the message's serialized_at and its timestamp_format; nil when the message does
-- not say or there is none. Clients write both at the end, or at the beginning if they do not care for the order: a
-- large message is not searched through, and not sent.
local message = redis.call('LINDEX', KEYS[1], -1)
if not message then
  return false
end
local ends = string.sub(message, 1, 500) .. '\n' .. string.sub(message, -500)
local at = string.match(ends, '"serialized_at"%s*:%s*"([^"\\]+)"')
local format = string.match(ends, '"timestamp_format"%s*:%s*"([^"\\]+)"')
if not at or not format then
  return false
end
return {redis.call('TIME')[1], at, format}
