import { ToolMissing } from '#core/errors';
import type { RunContext, SourceRef } from '#core/ports';
import { type Access, accessTo, forget } from '#engines/postgres/access';
import { type Address, parseAddress } from '#engines/postgres/address';
import type { Where } from '#engines/postgres/clients';

/**
 * Reaches a server that is not the source itself, a target or a prover, by programs of this machine. With `exec`, the
 * server that the source's own url names is reached as the source is: what `localhost` means is another thing there.
 * Others are too where this machine lacks the programs of their major.
 * @param attempt throws ToolMissing for lack of a program; what it returns keeps the access, which is its to forget
 */
export async function reachBeside<T>(
  address: Address,
  source: SourceRef | null,
  run: RunContext,
  attempt: (access: Access, where: Where) => Promise<T>,
): Promise<T> {
  const settings = source?.settings.postgres;
  const bin = settings?.bin ?? null;
  const along = async (where: Where): Promise<T> => {
    const access = await accessTo(address, where.exec, run);
    try {
      return await attempt(access, where);
    } catch (error) {
      await forget(access);
      throw error;
    }
  };
  if (!settings?.exec) return along({ bin, exec: [] });
  const behind: Where = { bin, exec: settings.exec };
  if (samePlace(address, parseAddress(run.reveal(settings.url)))) return along(behind);
  try {
    return await along({ bin: null, exec: [] });
  } catch (error) {
    if (!(error instanceof ToolMissing)) throw error;
    try {
      return await along(behind);
    } catch (second) {
      throw second instanceof ToolMissing ? error : second;
    }
  }
}

function samePlace(a: Address, b: Address): boolean {
  return ['host', 'hostaddr', 'port'].every((key) => (a.keywords[key] ?? '') === (b.keywords[key] ?? ''));
}
