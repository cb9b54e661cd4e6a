-- The first dead letter from an identifier on.
--
-- KEYS: the stream of dead letters
-- ARGV: the identifier, the largest message in bytes
-- Answers with an array: its identifier; then its fields and values, or nothing more when its message is too large to be
-- read. false when there is none.
local letter = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', 1)[1]
if not letter then
  return false
end
local fields, answer = letter[2], {letter[1]}
for i = 1, #fields, 2 do
  if fields[i] == 'payload' and #fields[i + 1] > tonumber(ARGV[2]) then
    return {letter[1]}
  end
end
for i = 1, #fields do
  answer[i + 1] = fields[i]
end
return answer
