import { fenced, inlineCode, plainText } from '#core/markdown';
import type { RestorableSource, RunbookBucket, RunbookVault } from '#core/runbook';
import { regionOf, replicaWords, restorerWords } from '#core/runbook-aws';
import { shellWord } from '#core/shell';

/** The steps of the runbook that are taken once: tools and vaults. */

export function toolsSection(restorable: readonly RestorableSource[]): string {
  const guides = restorable.map(({ backup }) => backup.guide);
  const methods = new Set(restorable.map(({ backup }) => backup.manifest.encryption.method));
  const packages = [
    ...(methods.has('age') ? ['age'] : []),
    ...(methods.has('gpg') ? ['gnupg'] : []),
    'zstd',
    ...unique(guides.flatMap((guide) => guide.packages)),
  ];
  const before = unique(guides.flatMap((guide) => guide.beforeInstall));
  const lines = [
    'export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8',
    'apt-get update',
    // What comes before may add a place to install from.
    ...(before.length > 0 ? [...before, 'apt-get update'] : []),
    `apt-get install -y --no-install-recommends ${unique(packages).map(shellWord).join(' ')} < /dev/null`,
  ];
  const servers = unique(guides.flatMap((guide) => guide.afterInstall));
  const recorded = restorable.map(({ source, backup }) => {
    const tools = Object.entries(backup.manifest.tools).sort(([a], [b]) => (a < b ? -1 : 1));
    return `- ${source} (${backup.manifest.engine}): ${tools.map(([tool, version]) => inlineCode(`${tool} ${version}`)).join(', ')}`;
  });
  return `## 1. Tools

${fenced('sh tools', lines.join('\n'))}

Debian 12 has PostgreSQL 15, Debian 13 has 17; what Debian lacks, the lines above take from apt.postgresql.org. Where a package is not found, any way to get the same program will do. The backups were taken with:

${recorded.join('\n')}${
  servers.length === 0
    ? ''
    : `\n\nWhere this machine is to be the server (skip it if there is another one already):\n\n${fenced('sh new-server', servers.join('\n'))}`
}`;
}

/** `VAULT`, or one for each where the page needs several. */
function vaultVariable(name: string): string {
  return `VAULT_${name.replace(/[^A-Za-z0-9]/g, '_').toUpperCase()}`;
}

/** The one that holds the name of the bucket. */
export function bucketVariable(name: string, used: readonly RunbookVault[]): string {
  return (used.length > 1 ? vaultVariable(name) : 'VAULT').replace('VAULT', 'BUCKET');
}

function fetchName(name: string): string {
  return `fetch_${name.replace(/[^A-Za-z0-9]/g, '_')}`;
}

/** Where the page needs several vaults, each source says which. */
export function setVaultLine({ backup }: RestorableSource, used: readonly RunbookVault[]): string[] {
  return used.length > 1 ? [`export VAULT="$${vaultVariable(backup.vault)}"`] : [];
}

/** @param names null = all of the backup */
export function fetchLine(
  { source, backup }: RestorableSource,
  used: readonly RunbookVault[],
  names: readonly string[] | null,
): string[] {
  const vault = used.find(({ name }) => name === backup.vault);
  if (!vault?.bucket) return [];
  const { tier, id, artifacts } = backup.manifest;
  const files = names ?? ['manifest.json', ...artifacts.flatMap(({ volumes }) => volumes.map(({ name }) => name))];
  return [`${fetchName(vault.name)} ${[`backups/${source}/${tier}/${id}`, ...files].map(shellWord).join(' ')}`];
}

export function vaultSection(used: readonly RunbookVault[], restorable: readonly RestorableSource[]): string {
  const several = used.length > 1;
  const doors = used.filter(({ bucket }) => bucket?.deployed);
  const parts = used.map((vault) => {
    const sources = restorable.filter(({ backup }) => backup.vault === vault.name).map(({ source }) => source);
    const copies = restorable.filter((one) => one.copies.some((copy) => copy.vault === vault.name));
    const variable = several ? vaultVariable(vault.name) : 'VAULT';
    const title = several
      ? `### Vault ${plainText(vault.name)}\n\nFor ${sources.join(', ')}${copies.length > 0 ? `; it has proven backups of ${copies.map(({ source }) => source).join(', ')} too` : ''}. `
      : '';
    return `${title}${vault.bucket ? bucketWords(vault, vault.bucket, variable, vault === doors[0]) : diskWords(vault, variable)}`;
  });
  if (used.filter(({ bucket }) => bucket !== null).length > 1)
    parts.push(
      'The buckets share the variables `AWS_…`: where they differ, set them anew before each source (`unset AWS_SESSION_TOKEN` for keys without one).',
    );
  return `## 2. The vault${several ? 's' : ''}\n\n${parts.join('\n\n')}`;
}

function diskWords(vault: RunbookVault, variable: string): string {
  return `It was ${inlineCode(vault.url)} on the machine that wrote it. Mount that disk (or a copy of it) and say where it is now: the directory that holds \`vault.json\`.

${fenced('sh', `export ${variable}=${shellWord(vault.url)}\nls -l "$${variable}/vault.json"`)}`;
}

/** @param tellsOfRole false: a vault before it has told how the deployment's role is taken on */
function bucketWords(vault: RunbookVault, bucket: RunbookBucket, variable: string, tellsOfRole: boolean): string {
  const { prefix, endpoint, deployed } = bucket;
  const fetch = fetchName(vault.name);
  const named = variable.replace('VAULT', 'BUCKET');
  const below = prefix === '' ? '' : `${prefix}/`;
  const place = `s3://$${named}/${below}`;
  // A listing does not tell what was thawed: without it sync leaves all out that lies in an archive class.
  const option = endpoint === null ? ' --force-glacier-transfer' : ` --endpoint-url ${shellWord(endpoint)}`;
  const remote = [
    ':s3',
    `provider=${endpoint === null ? 'AWS' : 'Other'}`,
    'env_auth=true',
    "region='$AWS_REGION'",
    ...(endpoint === null ? [] : [`endpoint='${endpoint}'`]),
  ].join(',');
  const base =
    endpoint === null ? `https://$${named}.s3.$AWS_REGION.amazonaws.com` : `${endpoint.replace(/\/+$/, '')}/$${named}`;
  return `It is ${inlineCode(vault.url)}${endpoint === null ? '' : ` at ${inlineCode(endpoint)}`}. ${
    deployed === null
      ? 'You need credentials that may list and read it; its owner gives out new ones.'
      : tellsOfRole
        ? restorerWords(bucket, deployed)
        : `The same role, ${inlineCode(deployed.restorer)}, may list and read it.`
  }

${fenced(
  'sh',
  `export AWS_ACCESS_KEY_ID="\${AWS_ACCESS_KEY_ID:-}"
export AWS_SECRET_ACCESS_KEY="\${AWS_SECRET_ACCESS_KEY:-}"
export AWS_REGION=${regionOf(bucket)}
export ${named}=${shellWord(bucket.name)}
export ${variable}="$HOME/vault-${vault.name}"
mkdir -p "$${variable}"`,
)}
${deployed?.replica ? `\n${replicaWords(bucket, deployed.replica, named)}\n` : ''}
The lines below fetch only the backups on this page. Take **one** of these three ways; each defines \`${fetch}\`, which later steps call with a folder and its files.

With the AWS command line (\`apt-get install -y awscli\`):

${fenced('sh', `${fetch}() { aws s3 sync --region "$AWS_REGION"${option} "${place}$1" "$${variable}/$1"; }`)}

With rclone (\`apt-get install -y rclone\`):

${fenced('sh', `${fetch}() { rclone copy ${quotedBefore(`${remote}:$${named}/${below}`)}$1" "$${variable}/$1"; }`)}

With curl 7.75 or newer, 7.88 where the credentials have a session token (\`apt-get install -y curl ca-certificates\`):

${fenced(
  'sh',
  `${fetch}() {
  folder=$1
  shift
  mkdir -p "$${variable}/$folder"
  for name; do
    {
      printf 'user = "%s:%s"\\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY"
      [ -z "\${AWS_SESSION_TOKEN:-}" ] || printf 'header = "x-amz-security-token: %s"\\n' "$AWS_SESSION_TOKEN"
    } | curl -fsS -K - --retry 5 --aws-sigv4 "aws:amz:$AWS_REGION:s3" -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' \\
      -o "$${variable}/$folder/$name" ${quotedBefore(`${base}/${below}`)}$folder/$name" || return 1
  done
}`,
)}`;
}

/** The beginning of a double-quoted word with variables in it, to be gone on with `$1"`. */
function quotedBefore(text: string): string {
  return `"${text.replace(/["\\`]/g, '\\$&')}`;
}

function unique(items: readonly string[]): string[] {
  return [...new Set(items)];
}
