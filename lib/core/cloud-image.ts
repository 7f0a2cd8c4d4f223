import type { PostgresSettings } from '#core/plan';
import type { LoadedPlan } from '#core/plan-load';
import { pathText } from '#core/plan-problem';
import { placesOfSources } from '#core/where';

/** PostgreSQL of the image of a source that says no `version`. */
export const DEFAULT_MAJOR = '17';

/** The major of the image that a source's tasks run in, as text; null = `version` says none. */
export function imageMajor(settings: Pick<PostgresSettings, 'version'> | undefined): string | null {
  return /^(\d{2})(?:\.\d+)?$/.exec(String(settings?.version ?? DEFAULT_MAJOR))?.[1] ?? null;
}

/** A PostgreSQL source of the cloud, and what the plan says of its server. */
export interface ImageChoice {
  readonly source: string;
  /** Where its `postgres` stands in the plan. */
  readonly at: string;
  /** Of the image: what a server has to be for its runs to succeed. */
  readonly major: string | null;
  /** Null: the plan says nothing, and `major` is a guess. */
  readonly written: string | null;
}

/** All PostgreSQL sources that tasks run for. */
export function imageChoices({ plan, at }: LoadedPlan): readonly ImageChoice[] {
  return placesOfSources(plan).flatMap(({ source, where }) => {
    const settings = plan.sources[source]?.postgres;
    if (where !== 'cloud' || !settings) return [];
    const written = settings.version === undefined ? null : String(settings.version);
    return [{ source, at: at(['sources', source, 'postgres']), major: imageMajor(settings), written }];
  });
}

/** For the output of a synthesis, which reaches no server: a line for each source whose major nobody wrote down. */
export function guessedMajors(loaded: LoadedPlan): readonly string[] {
  return imageChoices(loaded).flatMap(({ source, at, major, written }) =>
    written !== null
      ? []
      : [
          `warning: ${at} ${pathText(['sources', source, 'postgres'])}: no version, so the image has PostgreSQL ${major}; a server of another major fails its first run. Write version: NN, the server's own (show server_version; holdfast check says it too)`,
        ],
  );
}
