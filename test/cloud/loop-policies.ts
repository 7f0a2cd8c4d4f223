import { encryptionOf } from '#test/cloud/encryption';
import { type Permissions, permissionsOf } from '#test/cloud/permissions';
import type { Template } from '#test/cloud/synthesised';

/** The policies of a deployment, as synthesised or as a test has changed them since. */
export class LoopPolicies {
  readonly #templates: ReadonlyMap<string, Template>;
  readonly #plan: string;
  readonly #region: string;
  readonly #asSynthesised: LoopPolicies['current'];
  current: { readonly permissions: Permissions; readonly keys: ReadonlyMap<string, string> };

  constructor(templates: ReadonlyMap<string, Template>, plan: string, region: string) {
    this.#templates = templates;
    this.#plan = plan;
    this.#region = region;
    this.current = this.#of(templates);
    this.#asSynthesised = this.current;
  }

  amend(edit: (templates: ReadonlyMap<string, Template>) => void): void {
    const amended = structuredClone(this.#templates);
    edit(amended);
    this.current = this.#of(amended);
  }

  restore(): void {
    this.current = this.#asSynthesised;
  }

  #of(templates: ReadonlyMap<string, Template>): LoopPolicies['current'] {
    const stacks = [`${this.#plan}-vault`, `${this.#plan}-work`];
    return {
      permissions: permissionsOf({ templates }, this.#plan, this.#region),
      keys: encryptionOf(templates, stacks, this.#region),
    };
  }
}
