import { isUtf8 } from 'node:buffer';

/**
 * Names and link targets are kept as latin1 strings: one character per byte, so that any name a file system allows
 * survives, and comparing strings compares bytes.
 */
export type ByteString = string;

const BEYOND_ASCII = /[\x80-\xff]/;

export function byteString(text: string): ByteString {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** For file system calls: text where it can be, which is cheaper. */
export function fsPath(path: ByteString): string | Buffer {
  return BEYOND_ASCII.test(path) ? Buffer.from(path, 'latin1') : path;
}

/** The name as text, or null when its bytes are not UTF-8. */
export function utf8Of(path: ByteString): string | null {
  if (!BEYOND_ASCII.test(path)) return path;
  const bytes = Buffer.from(path, 'latin1');
  return isUtf8(bytes) ? bytes.toString('utf8') : null;
}

/** For people: line breaks and what is not UTF-8 are escaped. */
export function shown(path: ByteString): string {
  const text = utf8Of(path);
  if (text !== null) return text.replace(/[\x00-\x1f\x7f]/g, (char) => hexEscape(char));
  return path.replace(/[\x00-\x1f\x7f-\xff]/g, (char) => hexEscape(char));
}

function hexEscape(char: string): string {
  return char === '\n' ? '\\n' : `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`;
}

export function joined(folder: ByteString, name: ByteString): ByteString {
  if (folder === '' || folder === '.') return name;
  return folder.endsWith('/') ? `${folder}${name}` : `${folder}/${name}`;
}

/** Collects names for a message: the first twenty and how many there were. */
export class NameList {
  readonly #names: string[] = [];
  #count = 0;

  add(path: ByteString): void {
    this.#count++;
    if (this.#names.length < 20) this.#names.push(shown(path));
  }

  with(path: ByteString): this {
    this.add(path);
    return this;
  }

  get count(): number {
    return this.#count;
  }

  toString(): string {
    const more = this.#count - this.#names.length;
    return `${this.#names.join(', ')}${more > 0 ? `, and ${more} more` : ''}`;
  }
}
