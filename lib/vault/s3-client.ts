import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3';
import { Cancelled } from '#core/errors';
import { judge, type S3Place, s3Error } from '#vault/s3-errors';

export type Sdk = typeof import('#vault/s3-sdk').sdk;

export interface S3Settings {
  readonly bucket: string;
  /** Without slashes at its ends; may be empty. */
  readonly prefix: string;
  readonly region: string | null;
  /** Null = AWS. */
  readonly endpoint: string | null;
  /** Null = the usual chain: environment, profile, web identity, container, instance. */
  readonly credentials: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken?: string;
  } | null;
  readonly sse: 'AES256' | 'kms' | null;
}

/** How patient the client is. */
export interface S3Pace {
  readonly attempts: number;
  /** Longest wait before the second attempt; doubles with each further one, up to `longestMs`. The wait is random below it. */
  readonly firstMs: number;
  readonly longestMs: number;
  readonly connectMs: number;
  /** A connection on which nothing moves for so long is dead. */
  readonly idleMs: number;
  /** How long a failed upload may take to clean up behind itself. */
  readonly farewellMs: number;
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>;
  random(): number;
}

export const PACE: S3Pace = {
  attempts: 7,
  firstMs: 200,
  longestMs: 20_000,
  connectMs: 5000,
  idleMs: 30_000,
  farewellMs: 20_000,
  sleep: (milliseconds, signal) =>
    new Promise((resolve, reject) => {
      const stop = (): void => {
        clearTimeout(timer);
        reject(new Cancelled('stopped while waiting for the vault', { cause: signal?.reason }));
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', stop);
        resolve();
      }, milliseconds);
      if (signal?.aborted) stop();
      else signal?.addEventListener('abort', stop, { once: true });
    }),
  random: Math.random,
};

export interface Call {
  readonly client: S3Client;
  readonly sdk: Sdk;
  /** `Bucket`, and nothing else. */
  readonly bucket: { readonly Bucket: string };
  readonly options: { readonly abortSignal?: AbortSignal };
  /** An earlier attempt may have reached the server, and have been carried out there. */
  readonly ambiguous: boolean;
}

/** Requests to one bucket, with retries, and errors in Holdfast's words. Loads the SDK (100 ms, 30 MB) at the first of them. */
export class S3Connection {
  readonly place: S3Place;
  readonly settings: S3Settings;
  readonly pace: S3Pace;
  /** The server's clock when it last answered. */
  serverTime: Date | null = null;
  readonly #stop: AbortSignal | null;
  #opened: Promise<{ client: S3Client; sdk: Sdk }> | null = null;

  /** @param stop when it has fired, last words still get one attempt each, and nothing is waited for */
  constructor(settings: S3Settings, pace: S3Pace = PACE, stop: AbortSignal | null = null) {
    this.settings = settings;
    this.pace = pace;
    this.#stop = stop;
    this.place = {
      url: `s3://${settings.bucket}${settings.prefix === '' ? '' : `/${settings.prefix}`}`,
      endpoint: settings.endpoint ?? `AWS${settings.region === null ? '' : ` ${settings.region}`}`,
      secrets: settings.credentials ? Object.values(settings.credentials).filter((text) => text !== '') : [],
    };
  }

  /**
   * @param key for messages; empty = the bucket
   * @param make called once for each attempt
   */
  async request<Output>(
    operation: string,
    key: string,
    make: (call: Call) => Promise<Output>,
    signal?: AbortSignal,
  ): Promise<Output> {
    const isLastWord = this.#stop?.aborted === true;
    let ambiguous = false;
    for (let attempt = 1; ; attempt++) {
      if (signal?.aborted) throw new Cancelled('stopped while talking to the vault', { cause: signal.reason });
      try {
        const { client, sdk } = await this.#open();
        const options = signal ? { abortSignal: signal } : {};
        return await make({ client, sdk, bucket: { Bucket: this.settings.bucket }, options, ambiguous });
      } catch (error) {
        if (signal?.aborted) throw new Cancelled('stopped while talking to the vault', { cause: signal.reason });
        const outcome = judge(error);
        if (outcome === 'final' || attempt === this.pace.attempts || (isLastWord && !signal))
          throw s3Error(error, operation, key, this.place);
        ambiguous ||= outcome === 'ambiguous';
        await this.wait(attempt, signal);
      }
    }
  }

  /** Exponential backoff with full jitter. */
  async wait(attempt: number, signal?: AbortSignal): Promise<void> {
    const most = Math.min(this.pace.longestMs, this.pace.firstMs * 2 ** (attempt - 1));
    await this.pace.sleep(Math.round(this.pace.random() * most), signal ?? this.#stop ?? undefined);
  }

  #open(): Promise<{ client: S3Client; sdk: Sdk }> {
    this.#opened ??= this.#connect();
    return this.#opened;
  }

  async #connect(): Promise<{ client: S3Client; sdk: Sdk }> {
    const { sdk } = await import('#vault/s3-sdk');
    const { endpoint, region, credentials } = this.settings;
    const configuration: S3ClientConfig = {
      ...(endpoint === null ? {} : { endpoint, forcePathStyle: true }),
      ...(region !== null ? { region } : endpoint !== null ? { region: 'us-east-1' } : {}),
      ...(credentials ? { credentials } : {}),
      // Retries are ours: they tell what may have happened twice, and their clock can be set in tests.
      maxAttempts: 1,
      // We send SHA-256 of our own, and compare SHA-256 of our own.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: { connectionTimeout: this.pace.connectMs, socketTimeout: this.pace.idleMs },
    };
    const client = new sdk.S3Client(configuration);
    client.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args);
        const { headers } = result.response as { headers?: Record<string, string> };
        const date = headers?.['date'];
        if (date !== undefined && !Number.isNaN(Date.parse(date))) this.serverTime = new Date(date);
        return result;
      },
      { step: 'finalizeRequest', priority: 'low', name: 'holdfastServerTime' },
    );
    client.middlewareStack.add(
      (next) => async (args) => {
        const { headers } = args.request as { headers: Record<string, string> };
        const sha256 = headers['x-amz-checksum-sha256'];
        // The signature needs the same hash of the body that we have made already.
        if (sha256 !== undefined) headers['x-amz-content-sha256'] = Buffer.from(sha256, 'base64').toString('hex');
        return next(args);
      },
      { step: 'build', priority: 'low', name: 'holdfastBodyHash' },
    );
    return { client, sdk };
  }
}
