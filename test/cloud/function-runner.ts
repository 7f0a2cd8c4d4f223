import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { FunctionAnswer, FunctionCall } from '#test/cloud/function-processes';

/**
 * What Lambda's runtime does: imports the bundle, calls its handler with one event after the other, and tells what came
 * of each. Arguments: the bundle's directory and its handler.
 */
const [directory = '', handler = ''] = process.argv.slice(2);
const [file, name = ''] = handler.split('.');
const bundle = (await import(pathToFileURL(join(directory, `${file}.mjs`)).href)) as Record<string, unknown>;
const handle = bundle[name] as (event: unknown, context: object) => Promise<unknown>;
const functionName = process.env['AWS_LAMBDA_FUNCTION_NAME'];

process.on('message', async ({ event, requestId, seconds, shift }: FunctionCall) => {
  process.env['HOLDFAST_TEST_CLOCK_SHIFT'] = String(shift);
  const end = performance.now() + seconds * 1000;
  const context = {
    awsRequestId: requestId,
    functionName,
    functionVersion: '$LATEST',
    invokedFunctionArn: `arn:aws:lambda:eu-north-1:111122223333:function:${functionName}`,
    memoryLimitInMB: process.env['AWS_LAMBDA_FUNCTION_MEMORY_SIZE'],
    getRemainingTimeInMillis: () => Math.floor(end - performance.now()),
  };
  let answer: FunctionAnswer;
  try {
    answer = { result: (await handle(event, context)) ?? null, error: null };
  } catch (error) {
    const { name: type, message } = error as Error;
    answer = { result: null, error: `${type}: ${message}` };
  }
  process.send?.(answer);
});
process.on('disconnect', () => process.exit(0));
