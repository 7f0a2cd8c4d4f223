/** What an engine says to somebody who restores one of its backups by hand, with stock tools (I6). Markdown and sh. */
export interface EngineGuide {
  /** Debian's packages that the script needs. */
  readonly packages: readonly string[];
  /** sh before the packages are installed, for what Debian itself does not have. */
  readonly beforeInstall: readonly string[];
  /** sh after it: a locale, a server that has to run. */
  readonly afterInstall: readonly string[];
  /** What `TARGET` must be: a paragraph each. */
  readonly target: readonly string[];
  /** A word for sh: `TARGET` when everything is restored on this very machine. */
  readonly exampleTarget: string;
  /** sh that makes `exampleTarget` on this machine; null when the script makes it. */
  readonly makeTarget: string | null;
  /** sh that looks at what was restored, and what it must print. */
  readonly look: { readonly script: string; readonly answer: string | null } | null;
  /** What to expect at the end: a list item each. */
  readonly expect: readonly string[];
  /** How what was restored gets to its place, and what is still to do: a paragraph each. */
  readonly after: readonly string[];
  /** sh that makes what was restored this machine's own service; for the first source of its engine only. */
  readonly putInPlace: string | null;
  /** What neither the proof nor this page compares: a list item each. */
  readonly notCompared: readonly string[];
}
