import { openRun } from '#test/contracts/run-context';
import { files } from '#engines/files/engine';
import { filesSource } from '#test/engines/files/trees';
import { Readable } from 'node:stream';
const { run, close } = await openRun();
const source = filesSource({ paths: [process.argv[2]!], ...(process.env.EX ? { exclude: ['*.tmp', 'cache/'] } : {}) });
const t0 = performance.now();
const c = await files.capture(source, run);
for (const a of c.artifacts) {
  const { bytes, whole } = await a.open(); whole.catch(()=>{});
  const z = run.processes.pipe([{ program: 'zstd', args: ['-3', '-T0', '-c'] }, ...(process.env.AGE ? [{program:'age',args:['-r',process.env.AGE]}]:[]), { program: 'wc', args: ['-c'] }], { stdin: bytes });
  let s = ''; for await (const x of z.stdout!) s += x; await z.done; await whole; console.log(a.name, s.trim(), Math.round(performance.now() - t0));
}
const r = await c.finish(); await c.close();
console.log(JSON.stringify(r.fingerprint), r.warnings, 'ms', Math.round(performance.now() - t0), 'cpu', process.cpuUsage(), 'maxrss MB', process.resourceUsage().maxRSS / 1024);
await close();
