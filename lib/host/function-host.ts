import { Logger } from '@aws-lambda-powertools/logger';
import { injectLambdaContext } from '@aws-lambda-powertools/logger/middleware';
import middy from '@middy/core';
import type { Severity } from '#core/alert';
import { HoldfastError } from '#core/errors';
import type { LoadedPlan } from '#core/plan-load';
import type { Log, Messenger } from '#core/ports';
import { functionName, type HostName, readSettings, type SettingsOf } from '#core/settings';
import { topicMessenger } from '#host/alert-topics';
import { bundledPlan, type OwnVoice, openFunctionWorld } from '#host/function-world';
import { PlanSecrets } from '#host/secrets-manager-names';
import type { JobEnvironment } from '#jobs/environment';

type FunctionName = Exclude<HostName, 'worker'>;

/** The part of Lambda's context that is used. */
interface Context {
  readonly awsRequestId: string;
  getRemainingTimeInMillis(): number;
}

export interface Invocation<H extends FunctionName> {
  readonly event: unknown;
  readonly plan: LoadedPlan;
  readonly settings: SettingsOf<H>;
  readonly secrets: PlanSecrets;
  readonly requestId: string;
  readonly log: Log;
  readonly world: JobEnvironment;
  /** When `world.run.signal` fires. */
  readonly until: Date;
}

/** Before Lambda's own end of an invocation: time enough to give leases back. */
const FAREWELL_SECONDS = 5;

/**
 * A Lambda handler: its environment and the plan beside its bundle are read at the first call, so that importing it
 * needs nothing but its own file.
 * @param bundle where the bundle and the plan lie: `import.meta.dirname`
 * @param options `farewellSeconds`: what it takes to end well, once it was told to
 */
export function functionHost<H extends FunctionName>(
  host: H,
  bundle: string,
  act: (invocation: Invocation<H>) => Promise<unknown>,
  { farewellSeconds = FAREWELL_SECONDS }: { readonly farewellSeconds?: number } = {},
): (event: unknown, context: Context) => Promise<unknown> {
  const logger = new Logger({ serviceName: host });
  const log: Log = {
    debug: (message) => logger.debug(message),
    info: (message) => logger.info(message),
    warn: (message) => logger.warn(message),
  };
  let kept: { readonly plan: LoadedPlan; readonly settings: SettingsOf<H>; readonly secrets: PlanSecrets } | null =
    null;
  const handler = async (event: unknown, context: Context): Promise<unknown> => {
    kept ??= read(host, bundle);
    const { plan, settings, secrets } = kept;
    const { awsRequestId: requestId } = context;
    const milliseconds = Math.max(1000, context.getRemainingTimeInMillis() - farewellSeconds * 1000);
    const until = new Date(Date.now() + milliseconds);
    const world = await openFunctionWorld(plan, {
      name: functionName(plan.plan.name, host),
      requestId,
      log,
      signal: AbortSignal.timeout(milliseconds),
      secrets,
      messenger: messengerOf(settings, plan),
    });
    try {
      return await act({ event, plan, settings, secrets, requestId, log: world.run.log, world, until });
    } catch (error) {
      const clean = error instanceof Error ? error : new Error(String(error));
      logger.error(world.redact(clean.message), {
        code: error instanceof HoldfastError ? error.code : 'defect',
        ...(error instanceof HoldfastError ? { hint: error.hint } : { stack: world.redact(clean.stack ?? '') }),
      });
      throw error;
    }
  };
  return middy(handler as never).use(injectLambdaContext(logger) as never) as never;
}

function read<H extends FunctionName>(host: H, bundle: string) {
  const plan = bundledPlan(bundle);
  return {
    plan,
    settings: readSettings(host, process.env),
    secrets: new PlanSecrets(plan.plan.name),
  };
}

/** Those functions that have topics in their environment speak; the others leave it to them. */
function messengerOf(settings: object, { plan }: LoadedPlan): ((own: OwnVoice) => Messenger) | null {
  const topics = settings as Partial<Record<`HOLDFAST_TOPIC_${Uppercase<Severity>}`, string>>;
  const { HOLDFAST_TOPIC_CRITICAL: critical, HOLDFAST_TOPIC_HIGH: high, HOLDFAST_TOPIC_MEDIUM: medium } = topics;
  if (critical === undefined || high === undefined || medium === undefined) return null;
  return (own) => topicMessenger({ topics: { critical, high, medium }, plan, ...own });
}
