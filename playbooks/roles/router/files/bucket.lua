-- The converter "bucket": MurmurHash3 (x86, 32 bits, seed 0) of a text, by which flags divide clients, too
-- (core/flags/rule). A client is in the same share here as in a flag that divides by the same text.
local function rotate(x, n) return ((x << n) | (x >> (32 - n))) & 0xffffffff end

local function scramble(k)
  return (rotate((k * 0xcc9e2d51) & 0xffffffff, 15) * 0x1b873593) & 0xffffffff
end

core.register_converters("bucket", function(text)
  local h, whole = 0, #text - #text % 4
  for at = 1, whole, 4 do
    h = (rotate(h ~ scramble((string.unpack("<I4", text, at))), 13) * 5 + 0xe6546b64) & 0xffffffff
  end
  if whole < #text then
    local tail = text:sub(whole + 1) .. "\0\0\0"
    h = h ~ scramble((string.unpack("<I4", tail)))
  end
  h = h ~ #text
  h = ((h ~ (h >> 16)) * 0x85ebca6b) & 0xffffffff
  h = ((h ~ (h >> 13)) * 0xc2b2ae35) & 0xffffffff
  return h ~ (h >> 16)
end)
