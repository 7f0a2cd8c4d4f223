import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { resolve } from 'node:path';
import { filesRows } from '#test/bench/files';
import { type Row, SCALE } from '#test/bench/measure';
import { postgresRows } from '#test/bench/postgres';
import { redisRows } from '#test/bench/redis';
import { retentionRows } from '#test/bench/retention';
import { statusRows } from '#test/bench/status';

const ROUNDS = SCALE === 1 ? 5 : 1;
const PARTS = {
  postgres: postgresRows,
  redis: redisRows,
  files: filesRows,
  status: statusRows,
  retention: retentionRows,
};

const asked = process.argv.slice(2);
const rows: Row[] = [];
const notes: string[] = [];
for (const [name, part] of Object.entries(PARTS)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  const measured = await part(ROUNDS, (line) => process.stderr.write(`${name}: ${line}\n`));
  rows.push(...measured.rows);
  notes.push(...measured.notes);
}

/** A stroke in a command is no border of the table. */
const cell = (text: string): string => text.replaceAll('|', '\\|');
const lines = [
  '| work | against | at most | Holdfast | the other | measured | |',
  '|---|---|---|---|---|---|---|',
  ...rows.map(
    (row) =>
      `| ${cell(row.work)} | ${cell(row.against)} | ${row.atMost} | ${row.ours} | ${row.theirs} | **${row.measured}** | ${row.met ? 'met' : 'MISSED'} |`,
  ),
];
const remarks = notes.map((note) => `- ${note}`).join('\n');
process.stdout.write(`${lines.join('\n')}\n\n${remarks}\n`);
const memory = Math.round(totalmem() / 2 ** 30);
const document = `# Bench

\`npm run bench\` on ${new Date().toISOString().slice(0, 10)}: ${availableParallelism()} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), ${memory} GiB, Node ${process.versions.node}.
Medians of ${ROUNDS} runs, both sides in turn in one run, whole processes timed, their start included. Memory is the highest
sum of resident memory of Holdfast and all the children it starts, database servers aside, sampled every 40 ms.

${lines.join('\n')}

${remarks}
`;
if (asked.length === 0 && SCALE === 1) writeFileSync(resolve(import.meta.dirname, '../../docs/bench.md'), document);
