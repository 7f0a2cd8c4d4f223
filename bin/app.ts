import { App } from 'aws-cdk-lib';
import { writeAssembly } from '#cloud/assembly';
import { HoldfastError } from '#core/errors';

/** The CDK app: reads the plan, makes the stacks. `npx cdk synth -c plan=FILE`, else $HOLDFAST_PLAN, else ./holdfast.yaml. `-c region=` for a plan without `cloud:`. */
try {
  writeAssembly(new App(), (line) => process.stderr.write(`${line}\n`));
} catch (error) {
  if (!(error instanceof HoldfastError)) throw error;
  process.stderr.write(`error: ${error.message}\n${error.hint ? `hint: ${error.hint}\n` : ''}`);
  process.exitCode = error.exit;
}
