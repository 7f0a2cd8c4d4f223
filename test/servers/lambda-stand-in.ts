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
  /** As another service of AWS does: answered at once, tried three times. */
  send(name: string, event: unknown): void;
  /** Nothing is under way any more. */
  settled(): Promise<void>;
}

const ATTEMPTS = 3;

/** @param arns of the functions there are, by name */
export async function startLambda(
  arns: ReadonlyMap<string, string>,
  run: RunFunction,
  authorise: Authorise,
): Promise<LambdaStandIn> {
  const invoked: LambdaStandIn['invoked'] = [];
  const dead: DeadLetter[] = [];
  const underWay = new Set<Promise<void>>();

  const tried = async (name: string, event: unknown): Promise<void> => {
    // One id for all attempts, as Lambda gives it. It would wait minutes between them.
    const requestId = randomUUID();
    for (let attempt = 1; ; attempt++) {
      try {
        await run(name, event, requestId);
        return;
      } catch (error) {
        if (attempt < ATTEMPTS) continue;
        dead.push({ name, event, error: (error as Error).message });
        return;
      }
    }
  };
  const send = (name: string, event: unknown): void => {
    const going = tried(name, event).finally(() => underWay.delete(going));
    underWay.add(going);
  };

  const server = await startStandIn('lambda', async ({ caller, path, headers, body }) => {
    const asked = /^\/2015-03-31\/functions\/([^/]+)\/invocations$/.exec(path)?.[1];
    const name = asked === undefined ? '' : decodeURIComponent(asked);
    const arn = arns.get(name);
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
