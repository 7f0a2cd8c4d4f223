import { addAbortSignal, type Readable } from 'node:stream';
import { Cancelled, CaptureIncomplete } from '#core/errors';

/**
 * The chunks of a stream that is to be stored. The stream's own error comes through as it is.
 * @throws Cancelled when the signal fires, CaptureIncomplete when the stream is closed before its end
 */
export async function* readable(bytes: Readable, signal: AbortSignal): AsyncGenerator<Buffer> {
  stopIfAborted(signal);
  try {
    for await (const chunk of addAbortSignal(signal, bytes))
      yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
  } catch (error) {
    stopIfAborted(signal);
    if ((error as NodeJS.ErrnoException).code === 'ERR_STREAM_PREMATURE_CLOSE')
      throw new CaptureIncomplete('the stream to store was closed before its end', { cause: error });
    throw error;
  }
}

/** @throws Cancelled */
export function stopIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new Cancelled('stopped while storing', { cause: signal.reason });
}
