import type { EngineGuide } from '#core/engine-guide';
import type { Manifest } from '#core/manifest';
import { inlineCode } from '#core/markdown';
import { readFingerprint } from '#engines/redis/fingerprint';
import { ARTIFACT } from '#engines/redis/layout';

/** More databases than this must be asked for in the configuration. */
const DATABASES = 16;

export function redisGuide(manifest: Manifest): EngineGuide {
  const { content, measures } = manifest.fingerprint;
  const print = content === null ? null : readFingerprint(content);
  const { source } = manifest;
  const flavour = print?.server.flavour ?? (Object.hasOwn(manifest.tools, 'valkey-cli') ? 'valkey' : 'redis');
  const version = print?.server.version ?? manifest.tools['server'] ?? 'the same version';
  const databases = print?.keys?.databases ?? null;
  const needed = Math.max(DATABASES, (databases?.at(-1)?.index ?? 0) + 1);
  const modules = print?.modules ?? [];
  const cli = `${flavour}-cli -s ${source}.sock`;
  const folder = `/var/lib/${flavour}`;
  return {
    packages: [`${flavour}-server`],
    beforeInstall: [],
    afterInstall: [],
    target: [
      `A directory of its own, not there yet: the script puts \`${ARTIFACT}\` and an \`appendonlydir\` with the same data into it, so that a server starts with it whatever its \`appendonly\` says. No server may run in it.`,
      `Needs ${flavour} ${version} or newer (${inlineCode(`${flavour}-server --version`)}).${modules.length > 0 ? ` And the modules ${modules.map(inlineCode).join(', ')}.` : ''}`,
    ],
    exampleTarget: `"$PWD/${source}"`,
    makeTarget: null,
    look: {
      script: `${flavour}-server --port 0 --unixsocket "$PWD/${source}.sock" --dir "$TARGET" --databases ${needed} --save '' --logfile "$PWD/${source}.log" --daemonize yes
${waiting(cli)}
${cli} info keyspace
${cli} shutdown nosave`,
      answer: databases
        ? ['# Keyspace', ...databases.map(({ index, keys }) => `db${index}:keys=${keys},…`)].join('\n')
        : null,
    },
    expect: [
      'the script compares the sha256 of the file with the snapshot: `restored into …` means equal, byte for byte',
      `${print?.keys?.read ?? measures['keys'] ?? 'an unknown number of'} keys, fewer by those whose time has come since`,
    ],
    after: [
      'ACL users and the configuration are in no Redis backup.',
      `The restored ${inlineCode(ARTIFACT)} may also be given to a server elsewhere: both of \`${ARTIFACT}\` and \`appendonlydir\` go into its directory, while it is stopped.`,
    ],
    putInPlace: `service ${flavour}-server stop
mv ${folder} "${folder}.before-$(date +%Y%m%dT%H%M%S)"
cp -a "$TARGET" ${folder}
chown -R ${flavour}:${flavour} ${folder}
chmod 750 ${folder}
service ${flavour}-server start
${waiting(`${flavour}-cli`)}
${flavour}-cli info keyspace`,
    notCompared: ['keys that expire: by their number only', 'ACL users, configuration: not in the backup'],
  };
}

/** Ten minutes at most: a server that loads does not answer yet. */
function waiting(cli: string): string {
  return `tries=0
until ${cli} ping 2> /dev/null | grep -q PONG || [ $tries -ge 600 ]; do tries=$((tries + 1)); sleep 1; done`;
}
