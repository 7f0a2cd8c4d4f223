/** What to do with a new key, before it is needed. Never the secret key itself: a terminal's scrollback is no safe. */
export function recoverySheet(file: string, publicKey: string): string[] {
  return [
    'RECOVERY SHEET',
    `  public key   ${publicKey}`,
    `  key file     ${file}  (secret: whoever has it can read every backup; without it nobody can)`,
    '  1. Copy the key file to a place that does not burn, drown or get stolen together with this machine:',
    '     a password manager, a USB stick in another house. Print it as well: it is one line of letters.',
    '  2. Make a second key on another machine (holdfast keygen --out second.key) and add its public key to',
    '     encryption.recipients: then either key opens every later backup. Its key file stays there.',
    '  3. Keep it out of the vault and out of git.',
    "  4. Write on the print-out: the plan's name, where the vaults are, and how to use it:",
    '     holdfast restore SOURCE --vault URL --identity KEYFILE --to TARGET',
    "     or without Holdfast: the restore.script in each manifest needs only age, zstd and the database's own tools.",
  ];
}
