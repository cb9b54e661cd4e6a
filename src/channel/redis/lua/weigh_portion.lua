-- How many bytes the messages of a portion have.
--
-- KEYS: the portion
local bytes = 0
for _, message in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  bytes = bytes + #message
end
return bytes
