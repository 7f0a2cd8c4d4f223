import { NotThereYet } from '#core/errors';
import type { EngineName } from '#core/plan';
import type { StreamingEngine } from '#core/ports';

/** Engines of this version. Each is loaded at its first use: a status needs none of them, a backup one. */
const LOAD: Readonly<Partial<Record<EngineName, () => Promise<StreamingEngine>>>> = {
  postgres: async () => (await import('#engines/postgres/engine')).postgres,
  redis: async () => (await import('#engines/redis/engine')).redis,
  sqlite: async () => (await import('#engines/sqlite/engine')).sqlite,
  files: async () => (await import('#engines/files/engine')).files,
};

/** Those that can tell without storing anything. Known before they are loaded. */
const TELLS_UNCHANGED: ReadonlySet<EngineName> = new Set<EngineName>(['files']);

/** @throws NotThereYet */
export function engineNamed(name: EngineName): StreamingEngine {
  const load = LOAD[name];
  if (!load) throw new NotThereYet(`the ${name} engine is accepted in a plan and is not there yet in this version`);
  return {
    name,
    inspect: async (...call) => (await load()).inspect(...call),
    async *check(...call) {
      yield* (await load()).check(...call);
    },
    capture: async (...call) => (await load()).capture(...call),
    load: async (...call) => (await load()).load(...call),
    restore: async (...call) => (await load()).restore(...call),
    lookAtTarget: async (...call) => (await load()).lookAtTarget(...call),
    ...(TELLS_UNCHANGED.has(name)
      ? {
          unchangedSince: async (...call: Parameters<NonNullable<StreamingEngine['unchangedSince']>>) => {
            const { unchangedSince } = await load();
            if (!unchangedSince) throw new Error(`the ${name} engine cannot tell whether a source is unchanged`);
            return unchangedSince(...call);
          },
        }
      : {}),
  };
}
