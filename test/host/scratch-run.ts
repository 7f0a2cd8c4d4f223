import { createProcesses } from '#host/processes';
import { openScratch } from '#host/scratch';

/** A run for tests to kill: holds a scratch directory with plaintext and a server in it, says where, and waits. */
const scratch = await openScratch(process.env);
const processes = createProcesses(process.env, new AbortController().signal, scratch.path);
const server = processes.start({ program: 'sleep', args: ['600'] });
process.stdout.write(`${JSON.stringify({ path: scratch.path, server: server.pid })}\n`);
setInterval(() => undefined, 60_000);
