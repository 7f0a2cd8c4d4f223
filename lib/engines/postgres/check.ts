import type { CheckLine, RunContext, SourceRef } from '#core/ports';
import { reach } from '#engines/postgres/capture';

export async function* checkPostgres(source: SourceRef, run: RunContext): AsyncIterable<CheckLine> {
  await reach(source, run);
}
