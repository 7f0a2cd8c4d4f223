import type { SendMailOptions } from 'nodemailer';
import { CommandFailed, messageOf } from '#core/errors';
import { type Pace, type Surroundings, Undelivered } from '#notify/delivery';

/**
 * The machine's own mail: `sendmail -t -i`, which every mail system brings (Postfix, Exim, msmtp …). Success means that
 * it took the message into its queue, no more. The sender is left to it.
 * @throws Undelivered
 */
export async function sendmail(mail: SendMailOptions, run: Surroundings, pace: Pace): Promise<void> {
  const program = await run.processes.find('sendmail');
  if (program === null)
    throw new Undelivered('there is no sendmail on this machine; name a mail server: alerts.smtp.url in the plan');
  const { createTransport } = await import('nodemailer');
  const { message } = await createTransport({ streamTransport: true, buffer: true, newline: 'unix' }).sendMail(mail);
  if (!Buffer.isBuffer(message)) throw new Error('nodemailer gave no bytes although it was asked for a buffer');
  try {
    const input = message.toString('utf8');
    await run.processes.run({ program, args: ['-t', '-i'] }, { input, timeout: pace.totalMs });
  } catch (cause) {
    if (cause instanceof CommandFailed) throw new Undelivered(messageOf(cause), { cause });
    throw cause;
  }
}
