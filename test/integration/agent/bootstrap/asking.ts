/** A program that asks for the parameters in its argument, as `agent config --console-input` does, and prints the answers. */
import { isatty } from "node:tty";
import type { Parameter } from "../../../../agent/bootstrap/module.ts";
import { askValues } from "../../../../agent/bootstrap/values/ask-values.ts";
import { CommandError, Interruption } from "../../../../shared/cli/failure.ts";

const interrupt = new AbortController();
process.once("SIGTERM", () => {
  interrupt.abort(new Interruption("SIGTERM", 143));
});

try {
  const values = await askValues(JSON.parse(process.argv[2] ?? "") as Parameter[], {
    stdin: () => process.stdin,
    terminal: {
      ask: () => (isatty(0) ? process.stdin : undefined),
      show: process.stderr.isTTY ? process.stderr : undefined,
    },
    interrupt: interrupt.signal,
  });
  process.stdout.write(`${JSON.stringify([...values].map(([key, given]) => ({ key, ...given })))}\n`);
} catch (error) {
  if (error instanceof Interruption) process.exit(error.exitCode);
  if (!(error instanceof CommandError)) throw error;
  process.stdout.write(`${error.code}: ${error.message}\n`);
}
