import { fenced, inlineCode } from '#core/markdown';
import type { RunbookBucket, RunbookDeployment, RunbookKey } from '#core/runbook';
import { shellWord } from '#core/shell';

/** What the runbook says of a deployment in AWS: the door that it has for people, and where else the bytes are. */

export function regionOf({ region }: RunbookBucket): string {
  return shellWord(region ?? 'us-east-1');
}

/** How the role is taken on: to be run before the block that names the bucket, and only by who has no other credentials. */
export function restorerWords(bucket: RunbookBucket, { restorer, account, restorers }: RunbookDeployment): string {
  const who =
    restorers.length > 0
      ? `These may take it on: ${restorers.map(inlineCode).join(', ')}.`
      : 'Whoever may assume roles in the account may take it on.';
  const [user = 'NAME'] = restorers.flatMap((arn) => /:user\/(?:[^'"$`\\]*\/)?([\w+=,.@-]+)$/.exec(arn)?.[1] ?? []);
  const lines = [
    `export AWS_REGION=${regionOf(bucket)}`,
    `export ACCOUNT=${account ?? '"$(aws sts get-caller-identity --query Account --output text)"'}`,
    `export MFA="arn:aws:iam::$ACCOUNT:mfa/${user}"`,
    'export MFA_CODE=123456',
    `credentials=$(aws sts assume-role --region "$AWS_REGION" --role-arn "arn:aws:iam::$ACCOUNT:role/${restorer}" \\`,
    '  --role-session-name restore --serial-number "$MFA" --token-code "$MFA_CODE" --duration-seconds 43200 \\',
    "  --query 'Credentials.[AccessKeyId,SecretAccessKey,SessionToken]' --output text)",
    'export AWS_ACCESS_KEY_ID="$(echo "$credentials" | cut -f1)"',
    'export AWS_SECRET_ACCESS_KEY="$(echo "$credentials" | cut -f2)"',
    'export AWS_SESSION_TOKEN="$(echo "$credentials" | cut -f3)"',
  ];
  return `You need credentials that may list and read it. The deployment has a role for that, ${inlineCode(restorer)}, which can read, thaw what is archived, and nothing else. It wants a second factor. ${who} With the AWS command line (\`apt-get install -y awscli\`) and the user's own keys (\`aws configure\`):

${fenced('sh restorer', lines.join('\n'))}

\`MFA\` is the device, as the console names it under *Security credentials*; \`MFA_CODE\` is what it shows now. It lasts twelve hours; who is here by a role, not as a user, gets one: \`--duration-seconds 3600\`. Whoever has other credentials that may read the bucket leaves the block out.`;
}

/** @param named the variable that holds the bucket's name */
export function replicaWords(
  bucket: RunbookBucket,
  replica: NonNullable<RunbookDeployment['replica']>,
  named: string,
): string {
  const { region, account, ofOwner } = replica;
  const whose =
    account === null
      ? 'with the same role'
      : `in the account ${inlineCode(account)}, whose own people open it: the role is not of it`;
  // Whether they did, nobody who writes the page may ask.
  const condition = ofOwner
    ? '. The deployment leaves the first bucket as it is: its owner has to have put the replication rule, and only what was stored since is there'
    : '';
  return `**Where ${bucket.region === null ? 'that region' : inlineCode(bucket.region)} is gone, or the bucket,** its copy in ${inlineCode(region)} has the same backups but for the last minutes', ${whose}${condition}. Then correct the lines above, and those of the role, to:

${fenced('sh replica', `export AWS_REGION=${shellWord(region)}\nexport ${named}=${shellWord(replica.bucket)}`)}`;
}

export function secretWords({ name, region }: NonNullable<RunbookKey['secret']>): string {
  return `A copy of it is the secret ${inlineCode(name)} in ${inlineCode(region)}, as long as that region and the account are there. The role that reads the bucket cannot read it; whoever administers the account can:

${fenced('sh secret', `(umask 077; aws secretsmanager get-secret-value --region ${shellWord(region)} --secret-id ${shellWord(name)} --query SecretString --output text > "$HOME/holdfast.key")`)}`;
}
