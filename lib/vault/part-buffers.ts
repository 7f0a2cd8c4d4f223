/**
 * Memory for parts on their way, shared by all uploads of a vault, so that many at a time stay within what one may use
 * (I8). Who waits holds no buffer that is not being filled or sent: so one always comes. First come, first served.
 */
export class PartBuffers {
  readonly #budget: number;
  readonly #partBytes: number;
  #free: Buffer[] = [];
  #out = 0;
  readonly #waiting: { readonly bytes: number; readonly take: (buffer: Buffer) => void }[] = [];

  /** @param parts how many whole parts may be out at one time; smaller ones in their place */
  constructor(partBytes: number, parts: number) {
    this.#partBytes = partBytes;
    this.#budget = partBytes * parts;
  }

  /** @param bytes at most a part */
  async take(bytes: number): Promise<Buffer> {
    if (this.#waiting.length > 0 || this.#out + bytes > this.#budget)
      return new Promise((take) => {
        this.#waiting.push({ bytes, take });
      });
    return this.#allot(bytes);
  }

  give(buffer: Buffer): void {
    this.#out -= buffer.length;
    if (buffer.length === this.#partBytes) this.#free.push(buffer);
    for (let next = this.#waiting[0]; next && this.#out + next.bytes <= this.#budget; next = this.#waiting[0]) {
      this.#waiting.shift();
      next.take(this.#allot(next.bytes));
    }
    // A process that lives long gives back what it needs only now and then.
    if (this.#out === 0) this.#free = [];
  }

  #allot(bytes: number): Buffer {
    this.#out += bytes;
    const free = bytes === this.#partBytes ? this.#free.pop() : undefined;
    // Not from the zeroed pool: memory that is never written is never used.
    return free ?? Buffer.allocUnsafeSlow(bytes);
  }
}
