import { withReplicas } from '#core/copy-rules';
import { HoldfastError, KeyExists, messageOf, VaultForeign, VaultMissing } from '#core/errors';
import { isoTime } from '#core/manifest';
import { type Support, support } from '#core/plan-support';
import type { CheckLine, SourceFacts, SourceRef, Vault } from '#core/ports';
import { nextRun } from '#core/schedule';
import { formatBytes } from '#core/size';
import { sourcesIn } from '#jobs/catalog';
import { checkBuckets, type LiveBucket } from '#jobs/check-buckets';
import { checkCloud } from '#jobs/check-cloud';
import { checkCopies } from '#jobs/check-copies';
import type { JobEnvironment } from '#jobs/environment';
import { checkChannels } from '#notify/check-channels';
import { checkRecipients, sealingOf } from '#vault/encryption';
import { createVaultIdentity, readVaultIdentity } from '#vault/identity';
import { identityOpens } from '#vault/identity-file';
import { verifyCreateOnly } from '#vault/open';

export interface CheckRequest {
  readonly sources: readonly string[];
  /** Write `vault.json` where there is none yet. `id` for each new vault comes from the host. */
  readonly create: boolean;
  newVaultId(): string;
  /** Told of each bucket as it was found. */
  onBucket?(live: LiveBucket): void;
}

/**
 * Tries everything a night's run and its proof need, and says today what would fail then. `ok: null` = would not be
 * provable on this machine; a hint beside `ok: true` is advice.
 */
export async function* check(request: CheckRequest, environment: JobEnvironment): AsyncGenerator<CheckLine> {
  const { plan } = environment.plan;
  yield good(
    'plan',
    `${environment.plan.file}: plan ${plan.name}, ${count(request.sources.length, 'source')}, ${count(Object.keys(plan.vaults).length, 'vault')}`,
  );
  yield* notThereYet('plan', support(plan, null, 'check'));
  yield* checkKeys(environment);

  let estimate = 0;
  const versions = new Map<string, string>();
  for (const name of request.sources) {
    const source = environment.source(name);
    const needed = support(plan, name, 'check');
    yield* notThereYet(name, needed);
    if (needed.refusals.length > 0) continue;
    yield* checkSource(source, environment);
    const facts = await factsOf(source, environment);
    estimate += facts?.bytes ?? 0;
    if (facts) versions.set(name, facts.version);
    for (const schedule of source.settings.schedule) {
      const text = schedule.cron ?? `every ${schedule.every?.text}`;
      const next = nextRun(schedule, plan.timezone, environment.run.clock.now());
      yield good(
        `${name}: schedule`,
        `${text} (${plan.timezone}), next ${isoTime(next)}, to ${schedule.to.join(', ')}`,
      );
    }
  }
  const named = request.sources.flatMap((name) => environment.source(name).settings.schedule.flatMap((one) => one.to));
  // One that nothing is written to by itself is made all the same: `replicate --to` may.
  const isAll = request.create && Object.keys(plan.sources).every((name) => request.sources.includes(name));
  const used = withReplicas(plan, isAll ? [...named, ...Object.keys(plan.vaults)] : named);
  const answering: string[] = [];
  for (const name of used) if (yield* checkVault(name, estimate, request, environment)) answering.push(name);
  yield* checkCopies(request.sources, environment);
  yield* checkBuckets(answering, environment, request.onBucket);
  yield* checkChannels(plan, environment.run);
  yield* checkCloud(environment.plan, versions);
}

async function* checkKeys(environment: JobEnvironment): AsyncGenerator<CheckLine> {
  const { encryption } = environment.plan.plan;
  if (encryption === 'none') {
    yield {
      name: 'encryption',
      ok: true,
      message: 'none: backups lie in plaintext, as the plan says',
      hint: 'holdfast keygen --out holdfast.key makes a key',
    };
    return;
  }
  try {
    const sealing = await sealingOf(encryption, environment.run.processes);
    await checkRecipients(sealing, environment.run.processes);
    yield sealing.fingerprints.length > 1
      ? good('recipients', `${sealing.fingerprints.length} recipients, each one accepted by ${sealing.method}`)
      : {
          name: 'recipients',
          ok: true,
          message: 'only one recipient: when its key is lost, so is every backup',
          hint: 'add a second recipient whose identity is kept elsewhere',
        };
    const identity = await environment.identity();
    if (identity === null && sealing.method === 'age') {
      yield {
        name: 'identity',
        ok: null,
        message: 'the plan names no identity: backups are taken here and cannot be proven here',
        hint: 'encryption.identity: { file: ./holdfast.key }',
      };
      return;
    }
    await identityOpens(identity, sealing, environment.run.processes);
    yield good('identity', 'opens what the recipients seal');
  } catch (error) {
    yield bad('encryption', error);
  }
}

async function* checkSource(source: SourceRef, environment: JobEnvironment): AsyncGenerator<CheckLine> {
  try {
    for await (const line of environment.engine(source).check(source, environment.run))
      yield { ...line, name: `${source.name}: ${line.name}` };
  } catch (error) {
    yield bad(source.name, error);
  }
}

/** Null when the source does not answer; its own check line says why. */
async function factsOf(source: SourceRef, environment: JobEnvironment): Promise<SourceFacts | null> {
  try {
    return await environment.engine(source).inspect(source, environment.run);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return null;
  }
}

/** @returns whether its store answers and knows these credentials, whatever else is wrong */
async function* checkVault(
  name: string,
  estimate: number,
  request: CheckRequest,
  environment: JobEnvironment,
): AsyncGenerator<CheckLine, boolean> {
  const label = `vault ${name}`;
  let answers = false;
  const { plan, run } = environment;
  let vault: Vault;
  try {
    vault = environment.vault(name);
    if (request.create) await createIfMissing(vault, request, environment);
    const identity = await readVaultIdentity(vault, plan.plan.name);
    answers = true;
    yield good(label, `${vault.url}: vault ${identity.id} of plan ${identity.plan}`);
    await verifyCreateOnly(vault);
    yield good(label, 'refuses to overwrite what is there');
    const free = await vault.free();
    if (free !== null)
      yield free >= 2 * estimate
        ? good(label, `${formatBytes(free)} free, ${formatBytes(2 * estimate)} is twice what the sources hold`)
        : {
            name: label,
            ok: false,
            message: `${formatBytes(free)} free, want ${formatBytes(2 * estimate)}: twice what the sources hold`,
            hint: 'make room, or give the plan another vault',
          };
    const drift = Math.abs((await vault.now()).getTime() - run.clock.now().getTime()) / 1000;
    if (drift > 300)
      yield {
        name: label,
        ok: false,
        message: `this machine's clock and the vault's are ${Math.round(drift)} s apart, want less than 300`,
        hint: 'set the clock (timedatectl set-ntp true)',
      };
    const orphans = (await sourcesIn(vault)).filter((source) => plan.plan.sources[source] === undefined);
    if (orphans.length > 0)
      yield {
        name: label,
        ok: true,
        message: `holds backups of sources that are not in the plan: ${orphans.join(', ')}`,
        hint: 'they are kept; restore them with --from and their name',
      };
  } catch (error) {
    yield bad(label, error);
    return answers || error instanceof VaultMissing || error instanceof VaultForeign;
  }
  return answers;
}

async function createIfMissing(vault: Vault, request: CheckRequest, environment: JobEnvironment): Promise<void> {
  const { name } = environment.plan.plan;
  try {
    await readVaultIdentity(vault, name);
  } catch (error) {
    if (!(error instanceof VaultMissing)) throw error;
    try {
      await createVaultIdentity(vault, { plan: name, id: request.newVaultId(), created: environment.run.clock.now() });
    } catch (second) {
      if (!(second instanceof KeyExists)) throw second;
    }
  }
}

function* notThereYet(name: string, { refusals, warnings }: Support): Generator<CheckLine> {
  for (const { message, hint } of refusals) yield { name, ok: false, message, hint };
  for (const { message, hint } of warnings)
    yield { name, ok: true, message, hint: hint ?? 'a later version brings it' };
}

function good(name: string, message: string): CheckLine {
  return { name, ok: true, message, hint: null };
}

function bad(name: string, error: unknown): CheckLine {
  if (!(error instanceof HoldfastError)) throw error;
  return { name, ok: false, message: messageOf(error), hint: error.hint };
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
