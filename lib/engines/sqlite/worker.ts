import { createInterface } from 'node:readline';
import { examine } from '#engines/sqlite/examine';
import { extractTables } from '#engines/sqlite/extract';
import { WorkerFailure, type WorkerMessage, type WorkerRequest } from '#engines/sqlite/protocol';
import { look, takeSnapshot } from '#engines/sqlite/snapshot';

/**
 * The child process that touches SQLite: `node:sqlite` is synchronous and its `backup()` cannot be stopped, so it is
 * done where it can be killed. Reads one request from stdin and answers on stdout, one JSON line each. Its stdin
 * stays open as long as the parent lives: when it closes, the parent is gone and so is the reason to go on.
 */

function say(message: WorkerMessage): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

async function answer(request: WorkerRequest): Promise<unknown> {
  switch (request.do) {
    case 'snapshot':
      return takeSnapshot(request, {
        pinned: () => say({ pinned: true }),
        progress: (bytes) => say({ progress: bytes }),
      });
    case 'examine':
      return examine(request);
    case 'look':
      return look(request);
    case 'extract':
      return extractTables(request);
  }
}

async function serve(line: string): Promise<void> {
  try {
    say({ result: await answer(JSON.parse(line) as WorkerRequest) });
  } catch (error) {
    // Anything else is a defect: it dies with its stack on stderr, and the parent says so.
    if (!(error instanceof WorkerFailure)) throw error;
    say({ failure: { kind: error.kind, message: error.message, hint: error.hint } });
  }
  process.stdin.destroy();
}

let asked = false;
const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  asked = true;
  void serve(line);
});
process.stdin.on('end', () => process.exit(asked ? 1 : 0));
