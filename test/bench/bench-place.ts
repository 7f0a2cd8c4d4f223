import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Call, type Measured, timed } from '#test/bench/measure';

export const BIN = resolve(import.meta.dirname, '../../bin/holdfast');

/** A directory with a key, a disk vault and a plan for one source at a time. */
export class BenchPlace {
  readonly directory = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
  recipient = '';

  constructor() {
    chmodSync(this.directory, 0o755);
    mkdirSync(this.path('scratch'));
  }

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  get key(): string {
    return this.path('holdfast.key');
  }

  async prepare(): Promise<void> {
    await timed(this.holdfast('keygen', '--out', this.key));
    this.recipient = /age1[0-9a-z]+/.exec(readFileSync(this.key, 'utf8'))?.[0] ?? '';
  }

  /** A fresh vault and a plan with this source; nothing of the last round is left. */
  async plan(source: string, prove: 'always' | 'never', vault = '{ disk: ./vault }'): Promise<void> {
    this.clear();
    writeFileSync(
      this.path('holdfast.yaml'),
      `version: 1
name: bench
encryption: { recipients: [${this.recipient}], identity: { file: holdfast.key } }
vaults: { here: ${vault} }
tiers: { daily: { keep: 30d } }
sources:
  it:
    ${source}
    prove: ${prove}
    objectives: { rpo: 26h }
    schedule: [{ cron: "0 2 * * *", tier: daily, to: [here] }]
`,
    );
    await timed(this.holdfast('check', '--create', '--json'));
  }

  clear(): void {
    rmSync(this.path('vault'), { recursive: true, force: true });
    mkdirSync(this.path('out'), { recursive: true });
  }

  holdfast(...args: string[]): Call {
    return {
      program: BIN,
      args,
      cwd: this.directory,
      env: { HOLDFAST_SCRATCH: this.path('scratch'), HOLDFAST_STATE: this.path('state') },
    };
  }

  /** The pipeline of somebody who does it by hand, every exit code looked at. */
  byHand(script: string, env: Readonly<Record<string, string>> = {}): Call {
    return { program: 'bash', args: ['-euo', 'pipefail', '-c', script], cwd: this.directory, env };
  }

  async backup(): Promise<Measured> {
    rmSync(this.path('vault', 'backups'), { recursive: true, force: true });
    return timed(this.holdfast('backup', 'it'));
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
