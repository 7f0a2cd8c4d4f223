import * as z from 'zod';
import { KeyMissing, VaultForeign, VaultMissing } from '#core/errors';
import { isoTime } from '#core/manifest';
import type { Vault } from '#core/ports';

/** `vault.json`: what tells a vault from an empty folder, and one plan's vault from another's. */

export const VAULT_KEY = 'vault.json';
const FORMAT = 1;

const identitySchema = z.strictObject({
  format: z.literal(FORMAT),
  id: z.string().min(1),
  plan: z.string().min(1),
  created: z.iso.datetime(),
});

export type VaultIdentity = z.output<typeof identitySchema>;

/** Makes a directory or an empty bucket a vault. Throws `KeyExists` when it is one. */
export async function createVaultIdentity(
  vault: Vault,
  made: { readonly plan: string; readonly id: string; readonly created: Date },
): Promise<VaultIdentity> {
  const identity = identitySchema.parse({ format: FORMAT, ...made, created: isoTime(made.created) });
  await vault.putOnce(VAULT_KEY, Buffer.from(`${JSON.stringify(identity, null, 2)}\n`));
  return identity;
}

/**
 * Must be called before anything in a vault is trusted or written.
 * @param plan null takes any plan's vault: for restores without a plan
 * @throws VaultMissing not mounted or never created; VaultForeign another plan's, or of a newer format
 */
export async function readVaultIdentity(vault: Vault, plan: string | null): Promise<VaultIdentity> {
  const text = await readText(vault);
  const foreign = (what: string, hint: string): VaultForeign =>
    new VaultForeign(`vault ${vault.name} at ${vault.url}: ${VAULT_KEY} ${what}`, { hint });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // What JSON.parse says would add nothing to "is not JSON".
    throw foreign('is not JSON', 'it was damaged: compare another copy of the vault, and put the right text back');
  }
  const format = (json as { format?: unknown } | null)?.format;
  if (typeof format === 'number' && format > FORMAT)
    throw foreign(`has format ${format}, this Holdfast knows ${FORMAT}`, 'use a newer Holdfast');
  const parsed = identitySchema.safeParse(json);
  if (!parsed.success)
    throw foreign(
      `is not a vault's: ${z.prettifyError(parsed.error).split('\n').slice(0, 2).join(' ')}`,
      parsed.error.issues.every(({ code }) => code === 'unrecognized_keys')
        ? 'a newer Holdfast may have written it: use that one'
        : 'something else put it there: give the plan another directory or prefix',
    );
  if (plan !== null && parsed.data.plan !== plan)
    throw foreign(
      `names the plan "${parsed.data.plan}", this plan is "${plan}"`,
      'give each plan its own directory, bucket or prefix',
    );
  return parsed.data;
}

async function readText(vault: Vault): Promise<string> {
  try {
    return Buffer.from(await vault.get(VAULT_KEY)).toString('utf8');
  } catch (error) {
    if (!(error instanceof KeyMissing)) throw error;
    throw new VaultMissing(`vault ${vault.name} is not mounted, or not a vault: no ${VAULT_KEY} in ${vault.url}`, {
      hint: 'mount it; for a new vault: holdfast check --create',
      cause: error,
    });
  }
}
