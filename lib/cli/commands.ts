import type { Command } from 'commander';
import type { Invocation } from '#cli/invocation';

/** Tells the program of a command: its flags, its words, what it does. */
export type Add = (program: Command, invocation: Invocation) => void;

/**
 * Every command, in the order in which `--help` lists them. Loaded when it is asked for: all of them take 50 ms and
 * 7 MB at every start, and one call needs one.
 */
export const COMMANDS: Readonly<Record<string, () => Promise<Add>>> = {
  init: async () => (await import('#cli/init-command')).addInit,
  check: async () => (await import('#cli/check')).addCheck,
  keygen: async () => (await import('#cli/keygen')).addKeygen,
  backup: async () => (await import('#cli/backup')).addBackup,
  list: async () => (await import('#cli/list')).addList,
  show: async () => (await import('#cli/show')).addShow,
  prove: async () => (await import('#cli/prove')).addProve,
  restore: async () => (await import('#cli/restore')).addRestore,
  retain: async () => (await import('#cli/retain')).addRetain,
  hold: async () => (await import('#cli/hold')).addHold,
  release: async () => (await import('#cli/hold')).addRelease,
  ack: async () => (await import('#cli/ack')).addAck,
  replicate: async () => (await import('#cli/replicate')).addReplicate,
  runbook: async () => (await import('#cli/runbook')).addRunbook,
  status: async () => (await import('#cli/status')).addStatus,
  watch: async () => (await import('#cli/watch')).addWatch,
  ledger: async () => (await import('#cli/ledger')).addLedger,
  serve: async () => (await import('#cli/serve')).addServe,
  schedule: async () => (await import('#cli/schedule')).addSchedule,
  pause: async () => (await import('#cli/pause')).addPause,
  resume: async () => (await import('#cli/pause')).addResume,
  alerts: async () => (await import('#cli/alerts')).addAlerts,
  demo: async () => (await import('#cli/demo')).addDemo,
};

/** The one these arguments call, or all of them: for help, and to say what is near a name that is none. */
export async function commandsFor(args: readonly string[]): Promise<readonly Add[]> {
  const named = args.find((one, index) => !one.startsWith('-') && args[index - 1] !== '--plan');
  const before = named === undefined ? args : args.slice(0, args.indexOf(named));
  const load = named !== undefined && Object.hasOwn(COMMANDS, named) ? COMMANDS[named] : undefined;
  if (load && !before.some((one) => one === '--help' || one === '-h')) return [await load()];
  return Promise.all(Object.values(COMMANDS).map((one) => one()));
}
