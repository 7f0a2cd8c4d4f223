import * as z from 'zod';
import { openAlert } from '#core/alert';
import type { JobEnvironment } from '#jobs/environment';

const NAME = 'watch';
const time = z.iso.datetime();

const chainNotes = z.strictObject({
  open: z.record(z.string(), openAlert),
  changedAt: z.record(z.string(), time),
});

/** What the watcher remembers on its own machine. The ledgers decide; where it is lost, some things are told twice. */
const notesSchema = z.strictObject({
  format: z.literal(1),
  /** When each source, and each `<source> <schedule>`, was first seen in the plan: nothing rings for what came before (I10). */
  seen: z.record(z.string(), time),
  /** By source: the newest proven backup that was compared with those before it. */
  judged: z.record(z.string(), z.string()),
  /** By chain and key: since when an open alert's trouble is gone. */
  absent: z.record(z.string(), z.record(z.string(), time)),
  /** By chain: alerts that were told and that no vault could be told of. */
  unwritten: z.record(z.string(), chainNotes),
});
export type WatchNotes = z.output<typeof notesSchema>;

/** Null = none: then nobody knows what is new in the plan, and nothing is taken for new. */
export async function readWatchNotes({ notes }: JobEnvironment): Promise<WatchNotes | null> {
  const parsed = notesSchema.safeParse(await notes.read(NAME));
  return parsed.success ? parsed.data : null;
}

export async function writeWatchNotes(noted: WatchNotes, { notes }: JobEnvironment): Promise<void> {
  await notes.write(NAME, noted);
}

export function emptyWatchNotes(): WatchNotes {
  return { format: 1, seen: {}, judged: {}, absent: {}, unwritten: {} };
}
