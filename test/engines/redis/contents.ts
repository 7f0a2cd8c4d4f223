import type { RedisServer } from '#test/servers/redis';

/** Everything of one database as sorted lines: type, hex of the name, expiry, hash of the content in a fixed order. */
const SCRIPT = `
local function hex(s) return (s:gsub('.', function(c) return string.format('%02x', c:byte()) end)) end
local function flat(v)
  if type(v) ~= 'table' then return tostring(v):len() .. ':' .. tostring(v) end
  local out = {}
  for i, w in ipairs(v) do out[i] = flat(w) end
  return '[' .. table.concat(out, ',') .. ']'
end
local function pairsSorted(list)
  local out = {}
  for i = 1, #list, 2 do out[#out + 1] = flat({ list[i], list[i + 1] }) end
  table.sort(out)
  return table.concat(out)
end
local lines = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local type = redis.call('TYPE', key).ok
  local content
  if type == 'string' then content = redis.call('GET', key)
  elseif type == 'list' then content = flat(redis.call('LRANGE', key, 0, -1))
  elseif type == 'set' then local all = redis.call('SMEMBERS', key) table.sort(all) content = flat(all)
  elseif type == 'hash' then content = pairsSorted(redis.call('HGETALL', key))
  elseif type == 'zset' then content = pairsSorted(redis.call('ZRANGE', key, 0, -1, 'WITHSCORES'))
  elseif type == 'stream' then
    content = flat(redis.call('XRANGE', key, '-', '+'))
    local info = redis.call('XINFO', 'STREAM', key)
    for i = 1, #info, 2 do if info[i] == 'last-generated-id' then content = content .. info[i + 1] end end
    local groups = redis.call('XINFO', 'GROUPS', key)
    for _, group in ipairs(groups) do
      content = content .. flat(group) .. flat(redis.call('XPENDING', key, group[2]))
    end
  end
  lines[#lines + 1] = type .. ' ' .. hex(key) .. ' ' .. redis.call('PEXPIRETIME', key) .. ' ' .. redis.sha1hex(content)
end
table.sort(lines)
return table.concat(lines, '\\n')
`;

/** All data of a server as a text: equal data, equal text. Functions included. */
export async function contentsOf(server: RedisServer): Promise<string> {
  const info = await server.cli(['INFO', 'keyspace']);
  const parts: string[] = [];
  for (const [, index] of info.matchAll(/^db(\d+):/gm))
    parts.push(`db${index}\n${await server.cli(['-n', index as string, 'EVAL', SCRIPT, '0'])}`);
  parts.push(`functions\n${await server.cli(['FUNCTION', 'LIST', 'WITHCODE'])}`);
  return parts.join('\n');
}

/** Writes commands as they stand, binary safe. */
export function commands(list: readonly (readonly (string | Buffer)[])[]): Buffer {
  const parts: Buffer[] = [];
  for (const command of list) {
    parts.push(Buffer.from(`*${command.length}\r\n`));
    for (const word of command) {
      const bytes = Buffer.from(word);
      parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
    }
  }
  return Buffer.concat(parts);
}

export async function write(server: RedisServer, list: readonly (readonly (string | Buffer)[])[]): Promise<void> {
  const said = await server.cli(['--pipe'], commands(list));
  if (!/errors: 0,/.test(said)) throw new Error(`redis-cli --pipe: ${said}`);
}
