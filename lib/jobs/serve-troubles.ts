import { DEFAULT_ROUTES, type Telling } from '#core/alert';
import { HoldfastError, messageOf } from '#core/errors';
import type { JobEnvironment } from '#jobs/environment';

/**
 * What is wrong with `serve` itself, which no ledger knows: a plan that cannot be read, a job that throws. Told when it
 * begins and when it is over, once each; what befalls sources and vaults is told by `watch`, from the ledgers.
 */
export class Troubles {
  readonly #environment: () => JobEnvironment;
  readonly #open = new Map<string, Telling>();

  constructor(environment: () => JobEnvironment) {
    this.#environment = environment;
  }

  async begin(key: string, title: string, error: unknown): Promise<void> {
    const { run, plan, redact } = this.#environment();
    const defect = !(error instanceof HoldfastError);
    const said = redact(defect ? `a defect of Holdfast: ${messageOf(error)}` : error.message);
    const known = this.#open.get(key);
    // The same words each minute for a whole night help nobody.
    if (known?.happened.startsWith(said)) return;
    run.log.warn(`${title}: ${said}${!defect && error.hint ? `\nhint: ${error.hint}` : ''}`);
    if (error instanceof Error && defect) run.log.debug(error.stack ?? '');
    const now = run.clock.now();
    const telling: Telling = {
      what: 'opened',
      plan: plan.plan.name,
      key: `serve/${key}`,
      kind: 'failed',
      severity: plan.plan.alerts?.routes?.failed ?? DEFAULT_ROUTES.failed,
      source: null,
      title: `serve: ${title}`,
      happened: `${said}. serve goes on, and tries again.`,
      since: known?.since ?? now,
      at: now,
      safe: [],
      next: [defect ? 'report it, with what the log says around this time' : (error.hint ?? 'holdfast check')],
      told: (known?.told ?? 0) + 1,
      ledgerHead: null,
      host: run.host,
    };
    this.#open.set(key, telling);
    if (!known) await this.#tell(telling);
  }

  async end(key: string): Promise<void> {
    const known = this.#open.get(key);
    if (!known) return;
    this.#open.delete(key);
    const { run } = this.#environment();
    run.log.info(`${key}: all is well again`);
    await this.#tell({ ...known, what: 'closed', happened: 'It is over.', at: run.clock.now(), next: [] });
  }

  async #tell(telling: Telling): Promise<void> {
    const { messenger, run } = this.#environment();
    for (const { channel, ok, error } of await messenger.tell(telling))
      if (!ok) run.log.warn(`${channel} could not be told: ${error}`);
  }
}
