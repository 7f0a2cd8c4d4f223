import { main } from '#cli/main';

// No `await` at the top: `bin/bundle` makes a CommonJS file of it, which starts faster.
void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
