import type { DeployedFunction, Deployment } from '#test/cloud/deployment';
import { FunctionProcesses } from '#test/cloud/function-processes';
import { ACCOUNT } from '#test/cloud/resolve';
import type { Rights } from '#test/cloud/rights';

export interface LoopFunctionsOptions {
  readonly deployment: Deployment;
  readonly rights: Rights;
  /** The environment of every process. */
  surroundings(): Readonly<Record<string, string>>;
  said(line: string): void;
  /** Of the clock, in milliseconds. */
  shift(): number;
}

/** The functions of a deployment as Lambda runs them: under their roles, each with a log. */
export class LoopFunctions {
  readonly #options: LoopFunctionsOptions;
  readonly #processes: FunctionProcesses;
  readonly #replaced = new Map<string, string>();

  constructor(options: LoopFunctionsOptions) {
    this.#options = options;
    this.#processes = new FunctionProcesses(options.surroundings, options.said);
  }

  /** @param name with the plan's or without: `start-job` */
  named(name: string): DeployedFunction {
    for (const [short, found] of this.#options.deployment.functions)
      if (name === short || name === found.name)
        return { ...found, directory: this.#replaced.get(short) ?? found.directory };
    throw new Error(`no function ${name}`);
  }

  /** Runs another asset in its place; null = its own again. */
  replace(name: string, directory: string | null): void {
    if (directory === null) this.#replaced.delete(name);
    else this.#replaced.set(name, directory);
  }

  async run(name: string, event: unknown, requestId: string): Promise<unknown> {
    const { rights, shift } = this.#options;
    const deployed = this.named(name);
    const { role, log } = deployed;
    await rights.assume('lambda.amazonaws.com', `arn:aws:iam::${ACCOUNT}:role/${role}`);
    for (const action of ['CreateLogStream', 'PutLogEvents'])
      await rights.authorise(role, `logs:${action}`, `${log}:log-stream:2026/11/21/[$LATEST]0123`);
    return this.#processes.run(deployed, event, requestId, shift());
  }

  /** As a deployment does: the next call finds a new process, and the function's own asset. */
  async renew(name: string): Promise<void> {
    this.#replaced.clear();
    await this.#processes.renew(this.named(name).name);
  }

  async close(): Promise<void> {
    await this.#processes.close();
  }
}
