import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** Marks a file that is a real, small SQLite database. */
export const SQLITE = Symbol('a SQLite database');

/** Directories as the people who wrote the five backup handbooks have them. */
export const EXAMPLES: Readonly<Record<string, Readonly<Record<string, string | typeof SQLITE>>>> = {
  archon72: {
    '.env':
      'DB_HOST=db.internal\nDB_USER=archon\nDB_PASSWORD=p4ssw0rd-of-archon\nDB_NAME=conclave\nREDIS_URL=redis://:s3cret-of-redis@127.0.0.1:6379/0\n',
    'configs/app.yaml': 'halt: false\n',
    'configs/app.env': 'TOKEN=x\n',
    'k8s/deployment.yaml': 'kind: Deployment\n',
    'scripts/backup.sh': '#!/bin/sh\n',
  },
  'SIN-Solver': {
    'docker-compose.yml': `services:
  postgres:
    image: postgres:16-alpine
    container_name: room-03-postgres-master
    environment:
      POSTGRES_USER: ceo_admin
      POSTGRES_PASSWORD: password-of-the-ceo
      POSTGRES_DB: sin_solver
    volumes: ["./pgdata:/var/lib/postgresql/data"]
  redis:
    image: redis:7
    container_name: room-04-redis-cache
    command: redis-server --requirepass \${REDIS_PASSWORD}
    ports: ["127.0.0.1:6380:6379"]
  solver:
    image: sin-solver:latest
    volumes: ["./training-data:/data", "weights:/weights", "/var/run/docker.sock:/var/run/docker.sock"]
volumes: { weights: {} }
`,
    '.env': 'REDIS_PASSWORD=password-of-redis\n',
    'pgdata/PG_VERSION': '16\n',
    'pgdata/global/1': 'x',
    'training-data/day1.csv': 'a,b\n',
    'checkpoints/epoch1.bin': 'x',
    'node_modules/x/data/a.sqlite': SQLITE,
  },
  chatcard: {
    '.env':
      'DATABASE_URL="postgresql://chat:pa%40ss-of-chat@db:5432/chatcard?schema=public"\nDIRECT_URL="postgresql://chat:pa%40ss-of-chat@db:5432/chatcard"\nREDIS_URL=redis://redis:6379\n',
    'compose.yaml': `services:
  db: { image: "postgres:15", environment: ["POSTGRES_PASSWORD=pa@ss-of-chat"] }
  redis: { image: "docker.io/library/redis:7-alpine" }
  app: { build: . }
`,
    'package.json': '{"name":"chatcard"}',
  },
  elspeth: {
    'runs/audit.db': SQLITE,
    'runs/notes.db': 'not a database, whatever its name says',
    '.elspeth/payloads/ab/1.json': '{}',
    'pipeline.yaml': 'steps: []\n',
    'docker-compose.yml': `services:
  elspeth:
    image: elspeth:1
    volumes:
      - ./config:/app/config:ro
      - { type: bind, source: ./state, target: /app/state }
      - ./output:/app/output
`,
    'config/settings.yaml': 'a: 1\n',
    'state/state.json': '{}',
    'state/queue.sqlite3': SQLITE,
    'output/report.csv': 'a\n',
    'venv/lib/cache.db': SQLITE,
  },
  genesis: {
    '.genesis/data/genesis.db': SQLITE,
    '.genesis/data/backups/old.db': SQLITE,
    'config/settings.py': 'BACKUP_CONFIG = {}\n',
    '.env': 'DO_SPACES_KEY=key-of-spaces\nDO_SPACES_SECRET=secret-of-spaces\n',
  },
};

export async function buildExample(name: string, directory: string): Promise<void> {
  for (const [file, content] of Object.entries(EXAMPLES[name] as (typeof EXAMPLES)[string])) {
    const path = join(directory, file);
    await mkdir(dirname(path), { recursive: true });
    if (content !== SQLITE) await writeFile(path, content as string);
    else {
      const database = new DatabaseSync(path);
      database.exec('create table t (id integer primary key)');
      database.close();
    }
  }
}
