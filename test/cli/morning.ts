/**
 * A zone in which it is between six and seven in the morning now: hours after what a plan does at midnight and at two, and
 * hours before noon. So no test that asks what is due depends on when it is run.
 */
export function morningZone(): string {
  const offset = 6 - new Date().getUTCHours();
  const east = offset < -12 ? offset + 24 : offset;
  // The names say how far UTC lies ahead.
  return `Etc/GMT${east > 0 ? '-' : '+'}${Math.abs(east)}`;
}
