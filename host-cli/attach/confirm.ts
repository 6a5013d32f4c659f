/** Asks somebody at the terminal. */
import { createInterface } from "node:readline";
import { unlessAborted } from "../../shared/abort.ts";
import { usageError } from "../../shared/cli/failure.ts";
import { type Asking, firstLine } from "../../shared/cli/password-reader.ts";

/** Whether the answer is yes. Throws CommandError (usage) where there is no terminal, Interruption at Ctrl-C. */
export async function isConfirmed(question: string, { terminal, interrupt }: Asking): Promise<boolean> {
  const input = terminal.ask();
  if (input === undefined || terminal.show === undefined) {
    throw usageError("--confirm asks at a terminal, and there is none; nothing was changed");
  }
  const lines = createInterface({ input, output: terminal.show, terminal: true, historySize: 0 });
  // The interface writes it again when the line is edited.
  lines.setPrompt(`${question} (y/n): `);
  lines.prompt();
  try {
    return /^y(?:es)?$/i.test((await unlessAborted(interrupt, firstLine(lines))).trim());
  } finally {
    lines.close();
  }
}
