import { type Authorise, TO_SEND, type UseKey } from '#test/servers/aws-stand-in';

/** What was put into a queue. */
export interface Letter {
  readonly sender: string;
  /** ARN. */
  readonly queue: string;
  readonly body: string;
}

/** SQS, as the services that put dead letters there see it. */
export interface Queues {
  readonly letters: Letter[];
  /** @param context what a service says of itself: `aws:SourceArn` */
  send(letter: Letter, context?: Readonly<Record<string, string>>): Promise<void>;
}

export function queuesOf(authorise: Authorise, useKey: UseKey): Queues {
  const letters: Letter[] = [];
  return {
    letters,
    async send(letter, context) {
      const { sender, queue } = letter;
      await authorise(sender, 'sqs:SendMessage', queue, context);
      await useKey(sender, queue, TO_SEND, context);
      letters.push(letter);
    },
  };
}
