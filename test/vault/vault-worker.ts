import { isGone, thisHolder } from '#host/holder';
import { createProcesses } from '#host/processes';
import { realClock } from '#test/contracts/run-context';
import { DiskVault } from '#vault/disk-vault';
import { acquireLease } from '#vault/lease';
import { appendLedger } from '#vault/ledger-store';

/**
 * A process of its own on a disk vault, for tests of races and of kill -9. `hold ROOT` takes a lease and keeps it;
 * `append ROOT COUNT` writes that many ledger entries.
 */
const [verb, root, count] = process.argv.slice(2) as [string, string, string | undefined];
const processes = createProcesses(process.env, new AbortController().signal, null);
const vault = new DiskVault({ name: 'ssd', root, processes });
if (verb === 'hold') {
  const request = { source: 'events', job: 'backup', holder: thisHolder() };
  const lease = await acquireLease(vault, request, realClock, isGone);
  process.stdout.write(`${lease.number}\n`);
  setInterval(() => undefined, 60_000);
} else {
  for (let n = 0; n < Number(count); n++) {
    const fields = { id: null, host: 'here', manifest: null, details: { n, pid: process.pid } };
    await appendLedger(vault, 'events', { event: 'failed', ...fields }, realClock);
  }
}
