import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { StandIn } from '#test/servers/aws-stand-in';

/** The stand-ins know a caller by its access key alone: it is the role's name. */
export function keysOf(role: string): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: role,
    AWS_SECRET_ACCESS_KEY: `secret of ${role}`,
    AWS_SESSION_TOKEN: `session of ${role}`,
  };
}

/** Hands a task's role out, at `<endpoint>/<role>`, as the agent of ECS does. */
export async function startCredentials(): Promise<StandIn> {
  const server = createServer((incoming, outgoing) => {
    const keys = keysOf((incoming.url ?? '').slice(1));
    const body = {
      AccessKeyId: keys['AWS_ACCESS_KEY_ID'],
      SecretAccessKey: keys['AWS_SECRET_ACCESS_KEY'],
      Token: keys['AWS_SESSION_TOKEN'],
      // By every clock there is in these tests.
      Expiration: '2099-01-01T00:00:00Z',
    };
    outgoing.setHeader('content-type', 'application/json').end(JSON.stringify(body));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
