import { DatabaseSync } from 'node:sqlite';
import { setTimeout as wait } from 'node:timers/promises';

/**
 * An application: commits two rows that must always be together, every `pause` milliseconds, until it is killed.
 * Says `ready` after the first commit. Run as a child: writer.ts FILE PAUSE
 */
const [file = '', pause = '10'] = process.argv.slice(2);
const database = new DatabaseSync(file, { timeout: 10_000 });
for (let number = 1; ; number += 1) {
  database.exec(
    `begin immediate; insert into pairs(side, n) values ('left', ${number});
     insert into pairs(side, n) values ('right', ${number}); update counter set n = ${number}; commit`,
  );
  if (number === 1) console.log('ready');
  await wait(Number(pause));
}
