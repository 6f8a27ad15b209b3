/** What the lab is doing goes to standard error, between the lines of the scenarios. */
export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
