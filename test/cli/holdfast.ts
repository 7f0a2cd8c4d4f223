import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Envelope } from '#cli/envelope';

export const BIN = resolve(import.meta.dirname, '../../bin/holdfast');

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The `--json` document; throws when stdout is none. */
  json(): Envelope & { readonly result: never };
}

/** A directory of its own in which the real command line is run, as a user or cron would. */
export class Place {
  readonly directory = mkdtempSync(join(tmpdir(), 'holdfast-cli-'));
  readonly environment: Record<string, string>;
  program: readonly [string, ...string[]] = [BIN];

  constructor(environment: Record<string, string> = {}) {
    // A scratch PostgreSQL runs as another user, who has to find its way below.
    chmodSync(this.directory, 0o711);
    mkdirSync(this.path('scratch'));
    this.environment = {
      HOLDFAST_SCRATCH: join(this.directory, 'scratch'),
      // Children inherit it: that is how `childrenIn` knows them.
      TMPDIR: join(this.directory, 'scratch'),
      HOLDFAST_STATE: join(this.directory, 'state'),
      ...environment,
    };
  }

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  write(name: string, text: string): void {
    writeFileSync(this.path(name), text);
  }

  start(args: readonly string[]): ReturnType<typeof spawn> {
    const [program, ...words] = this.program;
    return spawn(program, [...words, ...args], {
      cwd: this.directory,
      env: { ...process.env, ...this.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
  }

  run(...args: string[]): Promise<Ran> {
    const child = this.start(args);
    let stdout = '';
    let stderr = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    return new Promise((done, fail) => {
      child.once('error', fail);
      child.once('close', (code) => {
        const json = (): Ran['json'] extends () => infer J ? J : never => {
          try {
            return JSON.parse(stdout);
          } catch (cause) {
            throw new Error(`no JSON on stdout of holdfast ${args.join(' ')}: ${stdout}\n${stderr}`, { cause });
          }
        };
        done({ code, stdout, stderr, json });
      });
    });
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
