import { DatabaseSync } from 'node:sqlite';

/** Opens FILE, does SQL there, says `ready` and holds everything until it is killed: locker.ts FILE SQL */
const [file = '', sql = ''] = process.argv.slice(2);
const database = new DatabaseSync(file);
database.exec(sql);
console.log('ready');
setInterval(() => database.isOpen, 60_000);
