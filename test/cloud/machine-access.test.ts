import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { REGION } from '#test/cloud/cloud-plan';
import { resolverOf } from '#test/cloud/resolve';
import { resourcesOf, synthesise, type Template } from '#test/cloud/synthesised';

/** White space is not counted. */
const MOST_CHARACTERS = 6144;
const SOURCES = 12;

const PLAN = `version: 1
name: shop
encryption:
  recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
  identity: { env: HOLDFAST_IDENTITY }
vaults:
  cloud: { s3: shop-backups, region: ${REGION}, prefix: prod, lock: governance }
tiers: { daily: { keep: 30d } }
sources:
${Array.from(
  { length: SOURCES },
  (_, index) =>
    `  conf${index}: { files: { paths: [/srv/${index}] }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }] }`,
).join('\n')}
cloud: { region: ${REGION} }
`;

interface Statement {
  readonly Action: string | readonly string[];
  readonly Resource: string | readonly string[];
}

test('a machine of many sources gets policies that IAM takes: none is longer than 6,144 characters, and no right is lost', () => {
  const folder = mkdtempSync(join(tmpdir(), 'hf-plan-'));
  const file = join(folder, 'holdfast.yaml');
  writeFileSync(file, PLAN);
  const made = synthesise(file);
  try {
    const resolver = resolverOf(made.templates, 'shop-work', REGION);
    const policies = resourcesOf(made.templates.get('shop-work') as Template, 'AWS::IAM::ManagedPolicy').flatMap(
      ([, { Properties }]) => {
        const name = resolver.text(Properties?.['ManagedPolicyName'] ?? 'of a role');
        return name.startsWith('shop-machine-')
          ? [{ name, document: resolver.value(Properties?.['PolicyDocument']) as { Statement: Statement[] } }]
          : [];
      },
    );
    for (const { name, document } of policies) {
      const characters = JSON.stringify(document).replaceAll(/\s/g, '').length;
      assert.ok(characters <= MOST_CHARACTERS, `${name} has ${characters}`);
    }
    const names = policies.map(({ name }) => name);
    for (const first of ['shop-machine-writer', 'shop-machine-keeper'])
      assert.ok(names.includes(first) && names.includes(`${first}-2`), `${names}`);
    assert.equal(new Set(names).size, names.length);

    const may = (who: string, action: string, key: string): boolean =>
      policies.some(
        ({ name, document }) =>
          name.startsWith(`shop-machine-${who}`) &&
          document.Statement.some(
            ({ Action, Resource }) =>
              [Action].flat().includes(action) && [Resource].flat().includes(`arn:aws:s3:::shop-backups/prod/${key}`),
          ),
      );
    for (let index = 0; index < SOURCES; index++) {
      assert.ok(may('writer', 's3:PutObject', `backups/conf${index}/*`), `conf${index} is not written`);
      assert.ok(may('writer', 's3:PutObjectRetention', `backups/conf${index}/*`), `conf${index} is not locked`);
      assert.ok(may('keeper', 's3:GetObject', `backups/conf${index}/*`), `conf${index} is not proven`);
      assert.ok(may('keeper', 's3:PutObject', `proofs/conf${index}/*`), `conf${index} has no proofs`);
    }
    assert.ok(may('keeper', 's3:PutObjectTagging', 'backups/*'));
  } finally {
    made.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
