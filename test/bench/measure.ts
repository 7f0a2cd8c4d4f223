import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

/** A fraction of the data, to try the bench itself: its figures then mean nothing and are not written down. */
export const SCALE = Number(process.env['HOLDFAST_BENCH_SCALE'] ?? 1);

const SAMPLE_MILLISECONDS = 40;
/** Database servers are not Holdfast's memory (I8). */
const SERVERS = new Set(['postgres', 'redis-server', 'initdb']);

export interface Measured {
  readonly seconds: number;
  /** Highest sum of resident memory of the process and all its descendants, servers aside, MiB. */
  readonly peakMiB: number;
  readonly code: number | null;
  readonly output: string;
}

export interface Call {
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Times a whole process, its start included, and samples the memory of its family. */
export function measure(call: Call): Promise<Measured> {
  const began = process.hrtime.bigint();
  const child = spawn(call.program, call.args, {
    cwd: call.cwd,
    env: { ...process.env, ...call.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-8192);
    });
  let peak = 0;
  const sampler = setInterval(() => {
    if (child.pid) peak = Math.max(peak, familyRss(child.pid));
  }, SAMPLE_MILLISECONDS);
  return new Promise((done, failed) => {
    child.once('error', failed);
    child.once('close', (code) => {
      clearInterval(sampler);
      done({ seconds: Number(process.hrtime.bigint() - began) / 1e9, peakMiB: peak / 1024, code, output });
    });
  });
}

/** @throws Error when it does not end with 0: a failed run has no time */
export async function timed(call: Call): Promise<Measured> {
  const measured = await measure(call);
  if (measured.code !== 0)
    throw new Error(`${call.program} ${call.args.join(' ')} ended with ${measured.code}: ${measured.output}`);
  return measured;
}

/** KiB. */
function familyRss(root: number): number {
  const parents = new Map<number, number[]>();
  const rss = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      const program = /^Name:\t(.*)$/m.exec(status)?.[1] ?? '';
      const parent = Number(/^PPid:\t(\d+)$/m.exec(status)?.[1]);
      if (!SERVERS.has(basename(program))) rss.set(pid, Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0));
      parents.set(parent, [...(parents.get(parent) ?? []), pid]);
    } catch {}
  }
  const sum = (pid: number): number =>
    (rss.get(pid) ?? 0) + (parents.get(pid) ?? []).reduce((total, child) => total + sum(child), 0);
  return sum(root);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

export interface Row {
  readonly work: string;
  readonly against: string;
  readonly atMost: string;
  readonly ours: string;
  readonly theirs: string;
  readonly measured: string;
  readonly met: boolean;
}

/** A B A B …: both sides meet the same weather. The ratio is that of the medians. */
export async function inTurn(
  rounds: number,
  ours: () => Promise<Measured>,
  theirs: readonly (() => Promise<Measured>)[],
): Promise<{ readonly ours: number; readonly theirs: readonly number[]; readonly peakMiB: number }> {
  const mine: Measured[] = [];
  const others: Measured[][] = theirs.map(() => []);
  for (let round = 0; round < rounds; round++) {
    mine.push(await ours());
    for (const [index, other] of theirs.entries()) (others[index] as Measured[]).push(await other());
  }
  return {
    ours: median(mine.map((one) => one.seconds)),
    theirs: others.map((side) => median(side.map((one) => one.seconds))),
    peakMiB: Math.max(...mine.map((one) => one.peakMiB)),
  };
}

export function ratioRow(work: string, against: string, most: number, ours: number, theirs: number): Row {
  const ratio = ours / theirs;
  return {
    work,
    against,
    atMost: `${most.toFixed(2)} ×`,
    ours: `${ours.toFixed(2)} s`,
    theirs: `${theirs.toFixed(2)} s`,
    measured: `${ratio.toFixed(2)} ×`,
    met: ratio <= most,
  };
}
