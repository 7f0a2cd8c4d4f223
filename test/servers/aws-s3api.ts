import { readFileSync } from 'node:fs';
import { argv, env, exit, stderr, stdout } from 'node:process';
import * as S3 from '@aws-sdk/client-s3';

/**
 * `aws s3api CALL --bucket B --option VALUE …`, as far as scripts of ours use it: values as file://, JSON or Key=Value,…;
 * answers as JSON, or one field by `--query FIELD --output text`; errors in the command line's own words.
 * The store is `AWS_ENDPOINT_URL_S3`.
 */

const SHOWN = new Set(['query', 'output']);

const [service, call = '', ...rest] = argv.slice(2);
if (service !== 's3api') throw new Error(`want s3api, got ${service}`);
const options = new Map<string, string>();
for (let index = 0; index < rest.length; index += 2) options.set((rest[index] ?? '').slice(2), rest[index + 1] ?? '');

const pascal = (text: string): string =>
  text.replaceAll(/(?:^|-)(\w)/g, (_all, letter: string) => letter.toUpperCase());
const Command = (S3 as unknown as Record<string, new (input: object) => never>)[`${pascal(call)}Command`];
if (!Command) throw new Error(`no call ${call}`);

const endpoint = env['AWS_ENDPOINT_URL_S3'] as string;
const client = new S3.S3Client({ endpoint, forcePathStyle: true });
try {
  const input = Object.fromEntries(
    [...options].filter(([name]) => !SHOWN.has(name)).map(([name, value]) => [pascal(name), given(name, value)]),
  );
  const { $metadata: _metadata, ...answer } = (await client.send(new Command(input))) as object as Record<
    string,
    unknown
  >;
  const query = options.get('query');
  if (query !== undefined) stdout.write(`${String(answer[query])}\n`);
  else if (Object.keys(answer).length > 0) stdout.write(`${JSON.stringify(answer, null, 2)}\n`);
} catch (error) {
  if (!(error instanceof S3.S3ServiceException)) throw error;
  stderr.write(`\nAn error occurred (${error.name}) when calling the ${pascal(call)} operation: ${error.message}\n`);
  exit(254);
}

function given(name: string, value: string): unknown {
  const text = value.startsWith('file://') ? readFileSync(value.slice('file://'.length), 'utf8') : value;
  // The one option whose value is a document by itself.
  if (name === 'policy') return text;
  if (text.startsWith('{')) return JSON.parse(text, (key, field) => (key === 'Date' ? new Date(field) : field));
  if (!text.includes('=')) return text;
  return Object.fromEntries(
    text.split(',').map((pair) => {
      const [key = '', text = ''] = pair.split('=');
      return [key, text === 'true' ? true : text];
    }),
  );
}
