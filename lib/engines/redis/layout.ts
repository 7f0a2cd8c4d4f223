/** Name of the one artifact, and of an RDB file where a server looks for it. */
export const ARTIFACT = 'dump.rdb';

/** Redis 7's and Valkey's defaults (appenddirname, appendfilename). */
export const AOF_DIRECTORY = 'appendonlydir';
/** Redis 6's single file. */
export const OLD_AOF = 'appendonly.aof';
export const AOF_BASE = 'appendonly.aof.1.base.rdb';
export const AOF_INCREMENT = 'appendonly.aof.1.incr.aof';
export const AOF_MANIFEST = 'appendonly.aof.manifest';
export const AOF_MANIFEST_TEXT = `file ${AOF_BASE} seq 1 type b\nfile ${AOF_INCREMENT} seq 1 type i\n`;

/** What a server would load or append to: any of them in a directory means that it is not empty. */
export const SERVER_FILES: readonly string[] = [ARTIFACT, AOF_DIRECTORY, OLD_AOF];
