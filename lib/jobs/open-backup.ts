import { Disproven, KeysMissing } from '#core/errors';
import { type Artifact, backupFolder, type Manifest, sha256Hex } from '#core/manifest';
import type { OpenBackup, PlainBytes, Processes, Vault } from '#core/ports';
import { unsealArtifact } from '#vault/unseal';

const FINGERPRINT_ARTIFACT = 'fingerprint.json';

/** What opening needs of the world: also there on the worst day, when there is no plan. */
export interface Opening {
  readonly run: { readonly processes: Processes; readonly signal: AbortSignal };
  identity(): Promise<{ readonly file: string } | null>;
}

/** A committed backup, its artifacts unsealed on demand. */
export class OpenedBackup implements OpenBackup {
  readonly manifest: Manifest;
  readonly vault: Vault;
  readonly #opening: Opening;
  readonly #read = new Set<string>();

  constructor(manifest: Manifest, vault: Vault, opening: Opening) {
    this.manifest = manifest;
    this.vault = vault;
    this.#opening = opening;
  }

  async fingerprint(): Promise<unknown> {
    const { content, sha256 } = this.manifest.fingerprint;
    if (content !== null) return content;
    const plain = await this.open(FINGERPRINT_ARTIFACT);
    const chunks: Buffer[] = [];
    for await (const chunk of plain.bytes) chunks.push(chunk as Buffer);
    await plain.whole;
    const text = Buffer.concat(chunks).toString('utf8');
    if (sha256Hex(text) !== sha256)
      throw new Disproven(
        `the fingerprint of ${this.manifest.source} ${this.manifest.id} is not the one its manifest names`,
      );
    return JSON.parse(text);
  }

  /** Artifacts that nobody has read to their end yet: what a restore into one place does not need, such as roles. */
  get unread(): readonly Artifact[] {
    return this.manifest.artifacts.filter(({ name }) => !this.#read.has(name));
  }

  /**
   * The file with the identity it takes; null = it takes none of ours.
   * @throws KeysMissing
   */
  async key(): Promise<{ readonly file: string } | null> {
    const { encryption, id, source } = this.manifest;
    if (encryption.method !== 'age') return null;
    const identity = await this.#opening.identity();
    if (identity !== null) return identity;
    throw new KeysMissing(`backup ${id} of ${source} is sealed, and no identity is named to open it`, {
      source,
      hint: 'name one in the plan (encryption.identity: { file: … }) or with --identity FILE',
    });
  }

  async open(name: string): Promise<PlainBytes> {
    const { manifest } = this;
    const artifact = manifest.artifacts.find((one) => one.name === name);
    if (!artifact)
      throw new Disproven(`backup ${manifest.id} of ${manifest.source} has no artifact ${name}`, {
        source: manifest.source,
      });
    const identity = await this.key();
    const plain = await unsealArtifact(
      this.vault,
      backupFolder(manifest),
      artifact,
      manifest.encryption.method,
      identity,
      this.#opening.run.processes,
      this.#opening.run.signal,
      manifest.encryption.recipients,
    );
    plain.whole.then(
      () => this.#read.add(name),
      // Whoever opened it awaits it too, and says what went wrong.
      () => undefined,
    );
    return plain;
  }
}
