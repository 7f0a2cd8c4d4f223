import { type Resolver, resolverOf } from '#test/cloud/resolve';
import type { Template } from '#test/cloud/synthesised';

/**
 * Which key of its account's own protects what: the thing's ARN → the key's. What AWS encrypts with a key of its own is
 * not in it, and asks nobody.
 */
export function encryptionOf(
  templates: ReadonlyMap<string, Template>,
  stacks: readonly string[],
  region: string,
): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const stack of stacks) {
    const template = templates.get(stack) as Template;
    const resolver = resolverOf(templates, stack, region);
    for (const [id, { Type, Properties = {} }] of Object.entries(template.Resources)) {
      const key = KEYS[Type]?.(Properties);
      if (key !== undefined) found.set(arnOf(id, Type, resolver), arnOfKey(resolver.text(key)));
    }
  }
  return found;
}

type Properties = Readonly<Record<string, unknown>>;

const KEYS: Readonly<Record<string, (properties: Properties) => unknown>> = {
  'AWS::S3::Bucket': ({ BucketEncryption }) =>
    (
      BucketEncryption as
        | {
            readonly ServerSideEncryptionConfiguration: readonly {
              readonly ServerSideEncryptionByDefault: { readonly KMSMasterKeyID?: unknown };
            }[];
          }
        | undefined
    )?.ServerSideEncryptionConfiguration[0]?.ServerSideEncryptionByDefault.KMSMasterKeyID,
  'AWS::SNS::Topic': ({ KmsMasterKeyId }) => KmsMasterKeyId,
  'AWS::SQS::Queue': ({ KmsMasterKeyId }) => KmsMasterKeyId,
  'AWS::SecretsManager::Secret': ({ KmsKeyId }) => KmsKeyId,
  'AWS::Logs::LogGroup': ({ KmsKeyId }) => KmsKeyId,
  'AWS::Lambda::Function': ({ KmsKeyArn }) => KmsKeyArn,
  'AWS::Scheduler::Schedule': ({ KmsKeyArn }) => KmsKeyArn,
};

/** Topics and secrets are known by their ARNs, the others by a name. */
function arnOf(id: string, type: string, resolver: Resolver): string {
  const reference = type === 'AWS::SNS::Topic' || type === 'AWS::SecretsManager::Secret';
  return resolver.text(reference ? { Ref: id } : { 'Fn::GetAtt': [id, 'Arn'] });
}

function arnOfKey(key: string): string {
  if (!key.startsWith('arn:aws:kms:')) throw new Error(`the key ${key} is not known here, want the ARN of one`);
  return key;
}
