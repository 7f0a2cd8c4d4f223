/** An error as the SDK throws it: the service's name for it, and what came with the answer. */
export function awsError(name: string, message: string, more: object = {}): Error {
  return Object.assign(new Error(message), {
    name,
    $fault: 'client',
    $metadata: { httpStatusCode: 400, requestId: 'b1b2', attempts: 1, totalRetryDelay: 0 },
    ...more,
  });
}
