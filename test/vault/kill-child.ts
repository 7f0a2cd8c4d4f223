import { readFile } from 'node:fs/promises';

/** SIGKILL to this process's own child of that name. */
export async function killChild(program: string): Promise<void> {
  const children = (await readFile(`/proc/self/task/${process.pid}/children`, 'utf8')).trim().split(' ');
  for (const pid of children)
    if ((await readFile(`/proc/${pid}/comm`, 'utf8')).trim() === program) {
      process.kill(Number(pid), 'SIGKILL');
      return;
    }
  throw new Error(`no child ${program} among ${children.join(' ')}`);
}
