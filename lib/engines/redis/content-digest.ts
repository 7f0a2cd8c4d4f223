import { canonicalJson, sha256Hex } from '#core/manifest';
import type { RunContext } from '#core/ports';
import { stopIfCancelled } from '#engines/redis/cancelled';
import type { RespConnection } from '#engines/redis/resp';

/** What a scratch server holds, in a few hashes. Equal data, equal digests, on the same kind of server. */
export interface ContentDigest {
  /** DEBUG DIGEST: keys and values of all databases, and which keys expire; neither when, nor more of a stream than its entries. */
  readonly values: string;
  /** Libraries of functions with their code. */
  readonly functions: string;
  /** By database number: when keys expire. Those that expire soon are left out, so that it holds while time passes. */
  readonly expiries: Readonly<Record<string, number>>;
  /** By database number: which ids streams have given out, their consumer groups, and what these have pending. */
  readonly groups: Readonly<Record<string, number>>;
}

/** Keys that expire sooner after the first look are not in `expiries`. */
export const SOON = 10 * 60 * 1000;

const PAGE = '5000';
/** Sums stay exact in a double. */
const MODULUS = 2 ** 52;

const EXPIRIES = `
local page = redis.call('SCAN', ARGV[1], 'COUNT', ARGV[2])
local sum = 0
for _, key in ipairs(page[2]) do
  local at = redis.call('PEXPIRETIME', key)
  if at > tonumber(ARGV[3]) then
    sum = (sum + tonumber(redis.sha1hex(at .. ':' .. key):sub(1, 12), 16)) % ${MODULUS}
  end
end
return { page[1], string.format('%.0f', sum) }`;

/** XINFO CONSUMERS tells idle times, which pass; XPENDING tells what each consumer has. */
const GROUPS = `
local function flat(v)
  if type(v) ~= 'table' then return type(v) .. #tostring(v) .. ':' .. tostring(v) end
  local out = {}
  for i, w in ipairs(v) do out[i] = flat(w) end
  return '[' .. table.concat(out, ',') .. ']'
end
local page = redis.call('SCAN', ARGV[1], 'COUNT', ARGV[2], 'TYPE', 'stream')
local sum = 0
for _, key in ipairs(page[2]) do
  local groups = redis.call('XINFO', 'GROUPS', key)
  local text = key .. flat(groups)
  local stream = redis.call('XINFO', 'STREAM', key)
  for i = 1, #stream, 2 do
    if stream[i] == 'last-generated-id' or stream[i] == 'max-deleted-entry-id' or stream[i] == 'entries-added' then
      text = text .. flat({ stream[i], stream[i + 1] })
    end
  end
  for _, group in ipairs(groups) do text = text .. flat(redis.call('XPENDING', key, group[2])) end
  sum = (sum + tonumber(redis.sha1hex(text):sub(1, 12), 16)) % ${MODULUS}
end
return { page[1], string.format('%.0f', sum) }`;

/**
 * @param soon Unix milliseconds; keys that expire before are not in `expiries`
 * @param major of the server: below 7 neither expiry moments nor functions can be asked for
 */
export async function contentDigest(
  connection: RespConnection,
  databases: readonly { readonly index: number; readonly expires: number }[],
  soon: number,
  major: number,
  run: RunContext,
): Promise<ContentDigest> {
  const sum = async (index: number, script: string): Promise<number> => {
    await connection.call('SELECT', String(index));
    let total = 0;
    let cursor = '0';
    do {
      stopIfCancelled(run);
      const page = await connection.call('EVAL', script, '0', cursor, PAGE, String(soon));
      const [next, part] = page as readonly [Buffer, Buffer];
      cursor = next.toString();
      total = (total + Number(part)) % MODULUS;
    } while (cursor !== '0');
    return total;
  };
  const expiries: Record<string, number> = {};
  const groups: Record<string, number> = {};
  for (const { index, expires } of databases) {
    if (expires > 0 && major >= 7) expiries[index] = await sum(index, EXPIRIES);
    groups[index] = await sum(index, GROUPS);
  }
  return {
    values: String(await connection.call('DEBUG', 'DIGEST')),
    functions: major >= 7 ? await functionsDigest(connection) : '',
    expiries,
    groups,
  };
}

/** Without expiries: they hold only until `soon`. */
export function sameContent(one: ContentDigest, other: ContentDigest): boolean {
  return (
    one.values === other.values &&
    one.functions === other.functions &&
    canonicalJson(one.groups) === canonicalJson(other.groups)
  );
}

export function sameExpiries(one: ContentDigest, other: ContentDigest): boolean {
  return canonicalJson(one.expiries) === canonicalJson(other.expiries);
}

/** FUNCTION DUMP's order is another one in each server; sorted by name it is not. */
async function functionsDigest(connection: RespConnection): Promise<string> {
  const libraries = (await connection.call('FUNCTION', 'LIST', 'WITHCODE')) as readonly (readonly unknown[])[];
  const texts = libraries.map((fields) => {
    const value = (name: string): string => String(fields[fields.findIndex((field) => String(field) === name) + 1]);
    return `${value('library_name')}\n${value('library_code')}`;
  });
  return sha256Hex(canonicalJson(texts.sort()));
}
