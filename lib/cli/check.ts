import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { writeBucketRules } from '#cli/bucket-rules';
import { chosenSources, type GlobalOptions, type Invocation } from '#cli/invocation';
import { EXIT } from '#core/errors';
import type { CheckLine } from '#core/ports';
import { check } from '#jobs/check';
import type { LiveBucket } from '#jobs/check-buckets';

export function addCheck(program: Command, invocation: Invocation): void {
  program
    .command('check')
    .description('try everything a run and its proof need, and say today what would fail at night')
    .argument('[source...]')
    .option('--create', "make the plan's vaults where there are none yet")
    .option('--bucket-rules <dir>', 'write what the buckets in AWS lack, merged with what they have, and the commands')
    .action(async (sources: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<
        GlobalOptions & { readonly create?: boolean; readonly bucketRules?: string }
      >();
      await invocation.withWorld('check', options, async (world, machine) => {
        const checks: CheckLine[] = [];
        const buckets: LiveBucket[] = [];
        const request = {
          sources: chosenSources(world, sources, true),
          create: options.create === true,
          newVaultId: randomUUID,
          onBucket: (live: LiveBucket) => void buckets.push(live),
        };
        for await (const line of check(request, world)) checks.push(line);
        const written =
          options.bucketRules === undefined
            ? []
            : writeBucketRules(world.plan.plan, buckets, options.bucketRules, machine.directory);
        const wrong = checks.filter((line) => line.ok === false).length;
        const unprovable = checks.filter((line) => line.ok === null).length;
        return {
          result: {
            ok: wrong === 0 && unprovable === 0,
            checks,
            ...(options.bucketRules === undefined ? {} : { bucketRules: written }),
          },
          lines: [
            ...checks.flatMap(lines),
            wrong === 0
              ? `all is well: ${checks.length} checks${unprovable > 0 ? `, ${unprovable} could not be looked at or proven here` : ''}`
              : `${wrong} of ${checks.length} checks failed`,
            ...written,
          ],
          exit: wrong > 0 ? EXIT.failed : unprovable > 0 ? EXIT.notProvable : EXIT.done,
        };
      });
    });
}

function lines(line: CheckLine): string[] {
  const mark = line.ok === null ? 'here? ' : line.ok ? (line.hint ? 'note  ' : 'ok    ') : 'WRONG ';
  return [
    `${mark}${line.name}: ${line.message}`,
    ...(line.hint ? line.hint.split('\n').map((part) => `        hint: ${part}`) : []),
  ];
}
