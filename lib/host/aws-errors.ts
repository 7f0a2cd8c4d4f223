import { CloudFailed, messageOf } from '#core/errors';
import { redact } from '#core/secrets';

const SHOWN = 300;

const HINTS: readonly (readonly [RegExp, string])[] = [
  [/AccessDenied|NotAuthorized|UnauthorizedOperation/, 'its role lacks the right: deploy the stack again'],
  [/Throttl|TooManyRequests|RequestLimitExceeded|SlowDown/, 'AWS asks for patience: it is tried again'],
  [/NotFound|ClientException|InvalidParameter/, 'the stack and the code are of different versions, or half deployed'],
];

/** ECS gives it no name of its own. */
const NO_ROOM = /capacity is unavailable|reached the limit|above your limit/i;

/** The name that AWS gave an error: `ConflictException`. */
export function nameOfAwsError(thrown: unknown): string {
  const { name } = (thrown ?? {}) as { name?: unknown };
  return typeof name === 'string' ? name : 'Error';
}

/** @param what in words: `could not start a task of events` */
export function cloudFailed(what: string, thrown: unknown, source: string | null = null): CloudFailed {
  const name = nameOfAwsError(thrown);
  const said = redact(messageOf(thrown), []).replace(/\s+/g, ' ').slice(0, SHOWN);
  return new CloudFailed(`${what}: ${name}: ${said}`, {
    source,
    cause: thrown,
    hint: NO_ROOM.test(said)
      ? 'AWS has no room, or a limit of the account is reached (Service Quotas, AWS Fargate): it is tried again'
      : (HINTS.find(([pattern]) => pattern.test(name))?.[1] ?? null),
  });
}
