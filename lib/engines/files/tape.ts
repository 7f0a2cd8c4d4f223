/** Bytes on their way, addressed by their offset since the beginning: what is not yet decided on waits here. */
export class Tape {
  #waiting: Buffer[] = [];
  /** Offset of the first waiting byte. */
  #offset = 0;

  add(chunk: Buffer): void {
    this.#waiting.push(chunk);
  }

  /** Takes the bytes before `offset`, uncopied. */
  *before(offset: number): Generator<Buffer> {
    while (this.#offset < offset) {
      const first = this.#waiting[0];
      if (first === undefined) throw new Error(`the tape ends at ${this.#offset}, before ${offset}`);
      const wanted = offset - this.#offset;
      if (first.length <= wanted) this.#waiting.shift();
      else this.#waiting[0] = first.subarray(wanted);
      const piece = first.length <= wanted ? first : first.subarray(0, wanted);
      this.#offset += piece.length;
      yield piece;
    }
  }
}
