import { randomUUID } from 'node:crypto';
import { type Authorise, AwsError, type StandIn, startStandIn } from '#test/servers/aws-stand-in';

/** A function that failed as often as Lambda tries. */
export interface DeadLetter {
  readonly name: string;
  readonly event: unknown;
  readonly error: string;
}

/** Runs one invocation of a function. Rejects when the function throws. */
export type RunFunction = (name: string, event: unknown, requestId: string) => Promise<unknown>;

export interface LambdaStandIn extends StandIn {
  /** Asynchronous invocations, in order. */
  readonly invoked: { readonly caller: string; readonly name: string; readonly event: unknown }[];
  readonly dead: DeadLetter[];
  /** As another service of AWS does, that may: answered at once, tried as often as the function says. */
  send(name: string, event: unknown): void;
  /** Nothing is under way any more. */
  settled(): Promise<void>;
}

/** What the service knows of a function. */
export interface StoodFunction {
  readonly name: string;
  readonly arn: string;
  /** Of an asynchronous invocation, the first one included. */
  readonly attempts: number;
}

export interface LambdaOptions {
  readonly functions: readonly StoodFunction[];
  readonly run: RunFunction;
  readonly authorise: Authorise;
  /** After the last attempt. */
  onDead(letter: DeadLetter): Promise<void>;
}

export async function startLambda({ functions, run, authorise, onDead }: LambdaOptions): Promise<LambdaStandIn> {
  const known = new Map(functions.map((one) => [one.name, one]));
  const invoked: LambdaStandIn['invoked'] = [];
  const dead: DeadLetter[] = [];
  const underWay = new Set<Promise<void>>();

  const tried = async ({ name, attempts }: StoodFunction, event: unknown): Promise<void> => {
    // One id for all attempts, as Lambda gives it. It would wait minutes between them.
    const requestId = randomUUID();
    for (let attempt = 1; ; attempt++) {
      try {
        await run(name, event, requestId);
        return;
      } catch (error) {
        if (attempt < attempts) continue;
        const letter = { name, event, error: (error as Error).message };
        dead.push(letter);
        await onDead(letter);
        return;
      }
    }
  };
  const send = (name: string, event: unknown): void => {
    const to = known.get(name);
    if (!to) throw new Error(`no function ${name}`);
    const going = tried(to, event).finally(() => underWay.delete(going));
    underWay.add(going);
  };

  const server = await startStandIn('lambda', async ({ caller, path, headers, body }) => {
    const asked = /^\/2015-03-31\/functions\/([^/]+)\/invocations$/.exec(path)?.[1];
    const name = asked === undefined ? '' : decodeURIComponent(asked);
    const arn = known.get(name)?.arn;
    if (arn === undefined) throw new AwsError('ResourceNotFoundException', `Function not found: ${name}`, 404);
    await authorise(caller, 'lambda:InvokeFunction', arn);
    const event = JSON.parse(body.toString('utf8')) as unknown;
    if (headers['x-amz-invocation-type'] !== 'Event')
      throw new AwsError('InvalidRequestContentException', 'functions of this deployment do not wait for each other');
    invoked.push({ caller, name, event });
    send(name, event);
    return { status: 202, body: '' };
  });
  return {
    ...server,
    invoked,
    dead,
    send,
    async settled() {
      while (underWay.size > 0) await Promise.all(underWay);
    },
  };
}
