-- The first dead letter from an identifier on.
--
-- KEYS: the stream of dead letters
-- ARGV: the identifier, the largest message in bytes, how many bytes the rest of a letter may have
-- Answers with an array: its identifier; then its fields and values, or nothing more when it is too large to be read.
-- false when there is none.
local letter = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', 1)[1]
if not letter then
  return false
end
local fields, answer = letter[2], {letter[1]}
local message, rest = 0, 0
for i = 1, #fields, 2 do
  rest = rest + #fields[i]
  if fields[i] == 'payload' then
    message = message + #fields[i + 1]
  else
    rest = rest + #fields[i + 1]
  end
end
if #fields > 32 or message > tonumber(ARGV[2]) or rest > tonumber(ARGV[3]) then
  return answer
end
for i = 1, #fields do
  answer[i + 1] = fields[i]
end
return answer
