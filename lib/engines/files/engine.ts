import type { SourceFacts, SourceRef, StreamingEngine } from '#core/ports';
import { capture, contentIs, identityOf, settingsOf } from '#engines/files/capture';
import { checkFiles, estimate } from '#engines/files/check';
import { readFingerprint } from '#engines/files/fingerprint';
import { load } from '#engines/files/load';
import { lookAtFilesTarget, restore } from '#engines/files/restore';
import { findRoots } from '#engines/files/roots';
import { tarVersion } from '#engines/files/tar-version';
import { walkOf } from '#engines/files/walk-of';

/** Trees of files: one `tar` archive and an index with the sha256 of each file, taken from the archive's own bytes. */
export const files: StreamingEngine = {
  name: 'files',
  async inspect(source, run): Promise<SourceFacts> {
    const settings = settingsOf(source);
    const roots = await findRoots(settings.paths);
    const bytes = await estimate(roots, await walkOf(source, roots, run), run);
    return { identity: identityOf(settings), version: await tarVersion(run), bytes };
  },
  check: checkFiles,
  capture,
  load: (backup, _source, run) => load(backup, run),
  restore: (backup, request, _source, run) => restore(backup, request, run),
  lookAtTarget: (backup, request, _source, run) => lookAtFilesTarget(backup, request, run),
  unchangedSince: (source: SourceRef, fingerprint, run) => contentIs(readFingerprint(fingerprint).content, source, run),
};
