import {
  Cancelled,
  HoldfastError,
  KeyExists,
  messageOf,
  SpaceLacking,
  ThawNeeded,
  VaultMissing,
  VaultRefused,
  VaultUnreachable,
} from '#core/errors';
import { keyMissing } from '#vault/keys';

/** What is read of an error of the SDK, of Node, or of a server that is not quite S3. */
interface Failure {
  readonly name: string;
  readonly status: number | null;
  readonly message: string;
}

/** Errors of the network: nobody knows whether the server did what it was asked. */
const NETWORK = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'ERR_STREAM_PREMATURE_CLOSE',
  'HPE_INVALID_CONSTANT',
  'HPE_CLOSED_CONNECTION',
  'UND_ERR_SOCKET',
]);

/** Answers that ask for another try, whatever their status. The digests: bytes that were hurt on their way. */
const TRY_AGAIN = new Set([
  'TimeoutError',
  'RequestTimeout',
  'RequestTimeoutException',
  'SlowDown',
  'Throttling',
  'ThrottlingException',
  'RequestLimitExceeded',
  'InternalError',
  'InternalFailure',
  'ServiceUnavailable',
  'OperationAborted',
  'ConditionalRequestConflict',
  'BadDigest',
  'XAmzContentSHA256Mismatch',
  'IncompleteBody',
]);

const CREDENTIALS = new Set([
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
  'InvalidToken',
  'ExpiredToken',
  'ExpiredTokenException',
  'CredentialsProviderError',
  'TokenRefreshRequired',
  'InvalidSecurity',
  'AuthFailure',
  'AuthorizationHeaderMalformed',
]);

export type Outcome = 'again' | 'ambiguous' | 'final';

/** Whether to try again, and then whether the server may have done it all the same. */
export function judge(error: unknown): Outcome {
  if (error instanceof HoldfastError) return error instanceof VaultUnreachable ? 'ambiguous' : 'final';
  const { name, status } = failureOf(error);
  if (isSkewed(error))
    return (error as { $metadata?: { clockSkewCorrected?: boolean } }).$metadata?.clockSkewCorrected
      ? 'again'
      : 'final';
  if (name === 'OperationAborted' || name === 'ConditionalRequestConflict' || name === 'SlowDown' || status === 429)
    return 'again';
  if (TRY_AGAIN.has(name) || NETWORK.has(name) || isGarbled(error)) return 'ambiguous';
  return status !== null && status >= 500 && status !== 501 ? 'ambiguous' : 'final';
}

export interface S3Place {
  /** `s3://bucket/prefix` */
  readonly url: string;
  /** Where it was sent to, without secrets. */
  readonly endpoint: string;
  /** Texts that must never be printed. */
  readonly secrets: readonly string[];
}

/** What a failed request means, in Holdfast's words. Never carries the SDK's error: its fields quote the request. */
export function s3Error(error: unknown, operation: string, key: string, place: S3Place): Error {
  if (error instanceof HoldfastError) return error;
  const failure = failureOf(error);
  const { name, status } = failure;
  const what = `${operation} of ${key === '' ? place.url : `${key} in ${place.url}`} failed: ${said(failure, place)}`;
  const cause = new Error(said(failure, place));
  if (name === 'AbortError') return new Cancelled('stopped while talking to the vault', { cause });
  if (name === 'PreconditionFailed' || status === 412)
    return new KeyExists(`${key} is already in ${place.url}, and is written once only`, {
      hint: 'another run wrote it; look at the ledger',
      cause,
    });
  if (name === 'NoSuchBucket')
    return new VaultMissing(`${place.url} does not exist at ${place.endpoint}`, {
      hint: 'check the bucket name, region and endpoint in the plan, or create the bucket',
      cause,
    });
  if (name === 'NoSuchKey' || name === 'NotFound' || status === 404) return keyMissing(key, place.url);
  if (isSkewed(error))
    return new VaultRefused(`${what}; the clocks of this machine and of the vault are too far apart`, {
      hint: 'set the clock right: timedatectl set-ntp true',
      cause,
    });
  if (CREDENTIALS.has(name))
    return new VaultRefused(what, {
      hint: 'check accessKeyId and secretAccessKey of the vault, or the AWS credentials of this machine',
      cause,
    });
  if (name === 'InvalidObjectState')
    return new ThawNeeded(`${what}; the object lies in an archive class`, {
      hint: '`holdfast restore SOURCE --id ID --from VAULT --to …` asks for its thaw, and says when it is ready',
      cause,
    });
  if (name === 'PermanentRedirect' || name === 'TemporaryRedirect' || status === 301 || status === 307)
    return new VaultRefused(`${what}; the bucket lies in another region`, {
      hint: "set the vault's region to the bucket's own",
      cause,
    });
  if (status === 507 || name === 'QuotaExceeded' || name === 'XMinioStorageFull' || name === 'InsufficientCapacity')
    return new SpaceLacking(what, { hint: 'raise the quota of the bucket or its owner', cause });
  if (/region is missing/i.test(failure.message))
    return new VaultRefused(`${place.url} needs a region`, {
      hint: 'give the vault a region, or set AWS_REGION',
      cause,
    });
  if (judge(error) !== 'final')
    return new VaultUnreachable(what, { hint: `check the network and ${place.endpoint}, then run it again`, cause });
  if (name === 'ENOTFOUND')
    return new VaultUnreachable(`${what}; no such host`, { hint: 'check the endpoint and region in the plan', cause });
  if (status === 403)
    return new VaultRefused(what, {
      hint: `allow s3:${permission(operation)} on ${place.url} for these credentials`,
      cause,
    });
  return new VaultRefused(what, {
    hint: 'the store does not do what was asked; see its documentation and policy',
    cause,
  });
}

/** Who is known, and may not do it; not: nobody knows who it is. */
export function isRightLacking(error: unknown): boolean {
  const { name, status } = failureOf(error);
  return status === 403 && !CREDENTIALS.has(name) && !isSkewed(error);
}

/** A reply that is not what S3 answers: cut off, or of a proxy on the way. */
export function garbled(what: string): VaultUnreachable {
  return new VaultUnreachable(what, { hint: 'a proxy or a failing server stands between; try it again' });
}

export function failureOf(error: unknown): Failure {
  const thrown = error as {
    name?: unknown;
    code?: unknown;
    Code?: unknown;
    message?: unknown;
    $metadata?: { httpStatusCode?: number };
    $response?: { statusCode?: number };
  };
  const status = thrown.$metadata?.httpStatusCode ?? thrown.$response?.statusCode ?? null;
  const code = [
    thrown.name === 'Error' || thrown.name === 'S3ServiceException' ? undefined : thrown.name,
    thrown.Code,
    thrown.code,
  ];
  const name =
    NETWORK.has(String(thrown.code)) || thrown.code === 'ENOTFOUND'
      ? thrown.code
      : code.find((text) => typeof text === 'string');
  return { name: typeof name === 'string' ? name : 'Error', status, message: messageOf(error) };
}

function said({ name, status, message }: Failure, place: S3Place): string {
  const words = [status === null ? '' : `HTTP ${status}`, name === 'Error' ? '' : name].filter(Boolean).join(' ');
  const text = message === name || message === 'UnknownError' ? '' : `: ${message}`;
  const all = `${words || 'error'}${text}`.replace(/\s+/g, ' ').slice(0, 300);
  return place.secrets.reduce((clean, secret) => clean.replaceAll(secret, '***'), all);
}

function isSkewed(error: unknown): boolean {
  return ['RequestTimeTooSkewed', 'RequestExpired', 'RequestInTheFuture'].includes(failureOf(error).name);
}

/** The SDK could not read the body: cut off, or no XML. */
function isGarbled(error: unknown): boolean {
  const { status, message } = failureOf(error);
  if (status !== null && status >= 300) return false;
  return error instanceof SyntaxError || /deserializ|parse|aborted|terminated|hang up/i.test(message);
}

function permission(operation: string): string {
  const names: Readonly<Record<string, string>> = {
    ListObjectsV2: 'ListBucket',
    CreateMultipartUpload: 'PutObject',
    UploadPart: 'PutObject',
    CompleteMultipartUpload: 'PutObject',
    HeadObject: 'GetObject',
    ListMultipartUploads: 'ListBucketMultipartUploads',
    GetBucketLifecycleConfiguration: 'GetLifecycleConfiguration',
    GetBucketEncryption: 'GetEncryptionConfiguration',
    GetBucketReplication: 'GetReplicationConfiguration',
    GetObjectLockConfiguration: 'GetBucketObjectLockConfiguration',
    GetPublicAccessBlock: 'GetBucketPublicAccessBlock',
  };
  return names[operation] ?? operation;
}
