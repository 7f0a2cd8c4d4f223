import type { Command } from 'commander';
import { worstExit } from '#cli/envelope';
import { chosenSources, type GlobalOptions, type Invocation } from '#cli/invocation';
import { formatTook } from '#core/duration';
import { BackupMissing, EXIT, HoldfastError, UsageError } from '#core/errors';
import type { World } from '#host/world';
import { findBackup, newestBackup } from '#jobs/catalog';
import { homeVault } from '#jobs/home';
import { OpenedBackup } from '#jobs/open-backup';
import { copiesOf, type ProofRun, proveBackup, proveStored } from '#jobs/prove';

interface Options extends GlobalOptions {
  readonly latest?: boolean;
  readonly id?: string;
  readonly stored?: boolean;
  readonly from?: string;
}

export function addProve(program: Command, invocation: Invocation): void {
  program
    .command('prove')
    .description('restore the newest backup into a scratch engine and compare it with its source')
    .argument('[source...]')
    .option('--latest', 'the newest backup (the default)')
    .option('--id <id>', 'this one')
    .option('--stored', 're-hash the stored bytes only: needs no key, finds rot, proves nothing')
    .option('--from <vault>', "from this vault instead of the source's first")
    .action(async (sources: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('prove', options, async (world) => {
        const names = chosenSources(world, sources, true);
        if (options.id !== undefined && names.length !== 1) throw new UsageError('--id wants exactly one source');
        if (options.id !== undefined && options.latest) throw new UsageError('--id and --latest exclude each other');
        const proofs: ProofRun[] = [];
        const errors: HoldfastError[] = [];
        for (const name of names) {
          try {
            const proof = await proveOne(name, options, world);
            proofs.push(proof);
            if (proof.error) errors.push(proof.error);
          } catch (error) {
            // One source without a backup, or with its vault away, does not keep the others from their proof.
            if (!(error instanceof HoldfastError)) throw error;
            error.source ??= name;
            errors.push(error);
          }
          if (world.run.signal.aborted) break;
        }
        const exit = worstExit([...errors.map((error) => error.exit), ...proofs.filter(isGood).map(() => EXIT.done)]);
        const error = errors.find((one) => one.exit === exit) ?? errors[0] ?? null;
        return {
          result: {
            proofs: proofs.map(({ source, id, result, reason, differences, seconds }) => ({
              source,
              id,
              result,
              reason,
              differences,
              seconds,
            })),
          },
          lines: proofs.flatMap((proof) => [
            `${proof.source}  ${proof.id}  ${options.stored && !proof.error ? 'stored bytes as written' : proof.result}  in ${formatTook(proof.seconds)}`,
            ...proof.differences.map((difference) => `  ${difference}`),
          ]),
          exit,
          error,
          warnings: errors.filter((one) => one !== error).map((one) => `${one.source}: ${one.message}`),
        };
      });
    });
}

function isGood(proof: ProofRun): boolean {
  return proof.error === null;
}

async function proveOne(source: string, options: Options, world: World): Promise<ProofRun> {
  const vault = await homeVault(source, options.from ?? null, world);
  const manifest =
    options.id === undefined ? await newestBackup(vault, source) : await findBackup(vault, source, options.id);
  if (!manifest)
    throw new BackupMissing(`no backup of ${source} in vault ${vault.name} (${vault.url})`, {
      source,
      hint: `holdfast backup ${source}`,
    });
  const backup = new OpenedBackup(manifest, vault, world);
  const proof = options.stored
    ? await proveStored(backup, world)
    : await proveBackup(
        backup,
        world.source(source),
        await copiesOf(manifest, otherVaults(source, vault.name, world), world),
        world,
      );
  return withSource(proof);
}

function otherVaults(source: string, tested: string, world: World) {
  const names = new Set(world.plan.plan.sources[source]?.schedule.flatMap((one) => one.to) ?? []);
  names.delete(tested);
  return [...names].map((name) => world.vault(name));
}

function withSource(proof: ProofRun): ProofRun {
  const error: HoldfastError | null = proof.error;
  if (error && error.exit !== EXIT.done) error.source ??= proof.source;
  return proof;
}
