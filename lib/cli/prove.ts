import type { Command } from 'commander';
import { type Outcome, worstExit } from '#cli/envelope';
import { chosenSources, type GlobalOptions, type Invocation } from '#cli/invocation';
import { thenRunbook } from '#cli/one-runbook';
import { formatTook } from '#core/duration';
import { EXIT, HoldfastError, UsageError } from '#core/errors';
import { assertSupported } from '#core/plan-support';
import { runsHere } from '#core/where';
import type { World } from '#host/world';
import { dueProof, proveCron } from '#jobs/due-proofs';
import type { ProofRun } from '#jobs/prove';
import { proveOne } from '#jobs/prove-one';

interface Options extends GlobalOptions {
  readonly latest?: boolean;
  readonly due?: boolean;
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
    .option('--due', 'only where a time of prove: { cron } has come since the last proof')
    .option('--stored', 're-hash the stored bytes only: needs no key, finds rot, proves nothing')
    .option('--from <vault>', "from this vault instead of the source's first")
    .action(async (sources: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('prove', options, (world) => thenRunbook(world, () => prove(sources, options, world)));
    });
}

async function prove(sources: readonly string[], options: Options, world: World): Promise<Outcome> {
  const names = chosenSources(world, sources, true);
  if (options.id !== undefined && names.length !== 1) throw new UsageError('--id wants exactly one source');
  if (options.id !== undefined && options.latest) throw new UsageError('--id and --latest exclude each other');
  for (const option of ['id', 'latest', 'stored'] as const)
    if (options.due && options[option] !== undefined)
      throw new UsageError(`--due and --${option} exclude each other: what is due is the newest backup`);
  const proofs: ProofRun[] = [];
  const errors: HoldfastError[] = [];
  const notes: string[] = [];
  for (const name of names) {
    try {
      const cron = proveCron(world.plan.plan, name);
      const mine = cron !== null && runsHere(world.plan.plan, name);
      if (options.due && !(mine && (await dueProof(name, cron, world)).due)) continue;
      const { id = null, from = null, stored = false } = options;
      // A timer's proof is tried, and written down as inconclusive: else it would be due for ever.
      if (!stored && !options.due) assertSupported(world.plan, null, 'prove');
      const proof = await proveOne({ source: name, id, from, stored }, world);
      proofs.push(proof);
      // What is due is looked at by a timer each few minutes: no mail each time for what only a person can thaw.
      if (options.due && proof.archived) notes.push(`${name}: ${proof.reason}`);
      else if (proof.error) errors.push(proof.error);
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
    lines:
      options.due && proofs.length === 0 && errors.length === 0
        ? ['no proof is due']
        : proofs.flatMap((proof) => [
            `${proof.source}  ${proof.id}  ${options.stored && !proof.error ? 'stored bytes as written' : proof.result}  in ${formatTook(proof.seconds)}`,
            ...proof.differences.map((difference) => `  ${difference}`),
          ]),
    exit,
    error,
    warnings: [
      ...errors.filter((one) => one !== error).map((one) => `${one.source}: ${one.message}`),
      ...proofs.flatMap((proof) => proof.warnings),
      ...notes,
    ],
  };
}

function isGood(proof: ProofRun): boolean {
  return proof.error === null;
}
