export const REGION = 'eu-north-1';

/** Two sources of the cloud in one bucket: enough for one to be kept away from the other. */
export const CLOUD_PLAN = `version: 1
name: shop
encryption:
  recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
  identity: { env: HOLDFAST_IDENTITY }
vaults:
  cloud: { s3: shop-backups, region: ${REGION}, prefix: prod }
tiers: { daily: { keep: 30d } }
sources:
  events:
    postgres: { url: "\${DATABASE_URL}" }
    schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }]
  cache:
    redis: { url: "\${REDIS_URL}" }
    schedule: [{ every: 4h, tier: daily, to: [cloud] }]
alerts: { critical: [{ slack: "\${SLACK_WEBHOOK}" }] }
cloud: { region: ${REGION} }
`;

/** Every sort of thing that a plan can ask of AWS. */
export const EVERYTHING = `version: 1
name: shop
encryption:
  recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
  identity: { env: HOLDFAST_IDENTITY }
vaults:
  cloud: { s3: shop-backups, region: ${REGION}, prefix: prod, lock: governance, capacity: 500GB, replica: { region: eu-west-1 } }
tiers:
  daily:  { keep: 30d }
  yearly: { keep: forever, class: deep-archive, after: 30d }
sources:
  events:
    postgres: { url: "\${DATABASE_URL}", version: 16, packages: [postgresql-16-pgvector] }
    schedule: [{ cron: "0 2 * * *", tiers: [daily, yearly], to: [cloud] }]
  payloads:
    files: { paths: [payloads] }
    schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }]
alerts:
  critical: [{ slack: "\${SLACK_WEBHOOK}" }, { sms: "+46700000000" }]
  high: [{ email: ops@example.com }]
cloud:
  region: ${REGION}
  restorers: ["arn:aws:iam::111122223333:user/ann"]
`;
