import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';

/**
 * What Lambda's runtime does: imports the bundle, calls its handler with one event, and tells what came of it, on the
 * third descriptor as JSON. Arguments: the bundle's directory, its handler, the request's id, the seconds it may take.
 */
const [directory = '', handler = '', requestId = '', seconds = ''] = process.argv.slice(2);
const event = JSON.parse(await text(process.stdin)) as unknown;
const end = performance.now() + Number(seconds) * 1000;

const [file, name = ''] = handler.split('.');
const bundle = (await import(pathToFileURL(join(directory, `${file}.mjs`)).href)) as Record<string, unknown>;
const call = bundle[name] as (event: unknown, context: object) => Promise<unknown>;
const context = {
  awsRequestId: requestId,
  functionName: process.env['AWS_LAMBDA_FUNCTION_NAME'],
  functionVersion: '$LATEST',
  invokedFunctionArn: `arn:aws:lambda:eu-north-1:111122223333:function:${process.env['AWS_LAMBDA_FUNCTION_NAME']}`,
  memoryLimitInMB: process.env['AWS_LAMBDA_FUNCTION_MEMORY_SIZE'],
  getRemainingTimeInMillis: () => Math.floor(end - performance.now()),
};
try {
  const result = await call(event, context);
  writeSync(3, JSON.stringify({ result: result ?? null }));
} catch (error) {
  const { name: type, message } = error as Error;
  writeSync(3, JSON.stringify({ error: `${type}: ${message}` }));
}
// Lambda freezes it here, whatever is still open.
process.exit(0);
