import { CommandFailed, type HoldfastError, SourceRefused, SourceUnreachable, SourceUnsupported } from '#core/errors';
import type { RunContext } from '#core/ports';
import { clientArguments, clientEnvironment, printable, type RedisAddress } from '#engines/redis/address';

const ANSWER_WITHIN = 20_000;

/**
 * One command by redis-cli; its answer as text. redis-cli reports most refusals on stdout with exit code 0, and goes on
 * as the default user when AUTH failed: only an answer free of all of that counts.
 * @throws SourceUnreachable, SourceRefused, SourceUnsupported
 */
export async function ask(
  cli: string,
  address: RedisAddress,
  command: readonly string[],
  run: RunContext,
): Promise<string> {
  let said: { readonly stdout: string; readonly stderr: string };
  try {
    said = await run.processes.run(
      {
        program: cli,
        args: [...clientArguments(address), ...command],
        env: clientEnvironment(address),
      },
      { timeout: ANSWER_WITHIN },
    );
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    throw (
      refusal(error.stderr, address) ??
      new SourceUnreachable(
        `${printable(address)} does not answer: ${firstLine(error.stderr) || `nothing within ${ANSWER_WITHIN / 1000} s`}`,
        {
          cause: error,
          hint: 'see whether the server runs and listens there: redis-cli -h HOST -p PORT ping',
        },
      )
    );
  }
  const refused = refusal(said.stderr, address) ?? (isError(said.stdout) ? refusal(said.stdout, address) : null);
  if (refused) throw refused;
  if (isError(said.stdout))
    throw new SourceRefused(
      `${printable(address)} refuses ${command.slice(0, 2).join(' ')}: ${firstLine(said.stdout)}`,
    );
  return said.stdout;
}

/** The one line that gives a user what a backup needs and nothing more; keys stay unreadable to it but through SYNC. */
export function leastRights(user: string | null): string {
  return `ACL SETUSER ${user ?? 'holdfast'} on '>PASSWORD' -@all +ping +info +replconf +sync`;
}

/** What a server's or redis-cli's words mean; null when they are not a refusal known here. */
export function refusal(text: string, address: RedisAddress): HoldfastError | null {
  const where = printable(address);
  const line = (pattern: RegExp): string | null =>
    text
      .split('\n')
      .find((candidate) => pattern.test(candidate))
      ?.trim() ?? null;
  if (line(/AUTH failed: .*without any password configured/))
    return new SourceRefused(`${where} has no password, and the url brings one: another server than the plan means?`, {
      hint: 'set requirepass there, or take the password out of the url',
    });
  if (line(/WRONGPASS|invalid password|AUTH failed/))
    return new SourceRefused(
      `${where} refuses the password${address.user === null ? '' : ` of user ${address.user}`}`,
      {
        hint: `see user and password in the url; percent-encode them; the user needs: ${leastRights(address.user)}`,
      },
    );
  if (line(/NOAUTH/))
    return new SourceRefused(`${where} wants a password, and the url brings none`, {
      hint: 'write redis://:PASSWORD@host or redis://USER:PASSWORD@host, from the environment',
    });
  const denied = line(/NOPERM/);
  if (denied)
    return new SourceRefused(
      `${where} denies ${address.user ?? 'the default user'} a right: ${denied.slice(denied.indexOf('NOPERM'))}`,
      {
        hint: `give it the least a backup needs: ${leastRights(address.user)}`,
      },
    );
  if (line(/DENIED .*protected mode/))
    return new SourceRefused(`${where} is in protected mode and has no password`, {
      hint: 'set a password there, or ask from its own machine',
    });
  const unknown = line(/unknown command/i);
  if (unknown)
    return new SourceUnsupported(`${where} does not offer a command that a backup needs: ${unknown.slice(0, 200)}`, {
      hint: "a managed service, or rename-command in its configuration; use the service's own snapshots, or allow SYNC and REPLCONF",
    });
  const loading = line(/^-?LOADING|BUSYLOADING| LOADING /);
  if (loading)
    return new SourceUnreachable(`${where} is still loading its data`, {
      hint: 'wait until it is ready; the run is repeated',
    });
  const unreachable = line(
    /Could not connect|SSL_connect|Server closed the connection|max number of clients|I\/O error|Connection reset/i,
  );
  if (unreachable)
    return new SourceUnreachable(`${where} does not answer: ${unreachable.slice(0, 300)}`, {
      hint: address.tls
        ? 'see host and port, and the certificates: ?cacert=FILE (and cert=, key=) in the url'
        : 'see host and port; a server that speaks only TLS wants rediss://',
    });
  return null;
}

/** Redis's errors begin with a word in capitals; INFO, numbers, OK and PONG do not look so. */
function isError(stdout: string): boolean {
  return /^(?:\(error\) |Error: |[A-Z]{3,} (?=\S))/.test(stdout) && !/^(OK|PONG)\b/.test(stdout);
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0]?.slice(0, 300) ?? '';
}
