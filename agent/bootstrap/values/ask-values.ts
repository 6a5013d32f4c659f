/** Values from a person at a terminal, who is asked for one after the other. */
import { createInterface } from "node:readline";
import type { ReadStream, WriteStream } from "node:tty";
import { unlessAborted } from "../../../shared/abort.ts";
import { usageError } from "../../../shared/cli/failure.ts";
import { type Asking, firstLine, PasswordReader } from "../../../shared/cli/password-reader.ts";
import { MAX_VALUE } from "../../../shared/protocol/limits.ts";
import { printable } from "../../../shared/terminal-text.ts";
import type { GivenValue, Parameter, Values } from "../module.ts";

/**
 * Asks for each parameter once, in their order, but for hidden ones. An empty answer takes the default, or leaves the key
 * out where it is not required. Passwords are not shown, and typed twice.
 *
 * Throws CommandError (usage) where there is no terminal, or none any more, and Interruption at Ctrl-C.
 */
export async function askValues(parameters: readonly Parameter[], asking: Asking): Promise<Values> {
  const asker = new Asker(asking);
  const values = new Map<string, GivenValue>();
  for (const parameter of questions(parameters)) {
    const value = await asker.ask(parameter);
    if (value !== undefined) values.set(parameter.key, { value, isSecret: parameter.password });
  }
  return values;
}

/** Several modules may take the same key: it is required, or a password, if it is to one of them. */
function questions(parameters: readonly Parameter[]): Iterable<Parameter> {
  const byKey = new Map<string, Parameter>();
  for (const parameter of parameters.filter(({ hidden }) => !hidden)) {
    const { required = false, password = false, ...others } = byKey.get(parameter.key) ?? {};
    byKey.set(parameter.key, {
      ...parameter,
      ...others,
      required: required || parameter.required,
      password: password || parameter.password,
    });
  }
  return byKey.values();
}

class Asker {
  readonly #passwords: PasswordReader;
  readonly #interrupt: AbortSignal;
  readonly #input: ReadStream;
  readonly #show: WriteStream;

  constructor(asking: Asking) {
    const { ask, show } = asking.terminal;
    const input = ask();
    if (input === undefined || show === undefined) {
      throw usageError("there is no terminal to ask at; give the values with --stdin or in a file");
    }
    this.#passwords = new PasswordReader(asking);
    this.#interrupt = asking.interrupt;
    this.#input = input;
    this.#show = show;
  }

  /** Undefined when the key is to be left out. */
  async ask(parameter: Parameter): Promise<string | undefined> {
    for (;;) {
      const answer = parameter.password ? await this.#askHidden(parameter) : await this.#askShown(parameter);
      const value = answer === "" ? parameter.default : answer;
      const problem = problemOf(value, parameter);
      if (problem === undefined) return value;
      this.#say(problem);
    }
  }

  async #askShown({ description, key, default: fallback }: Parameter): Promise<string> {
    const lines = createInterface({ input: this.#input, output: this.#show, terminal: true, historySize: 0 });
    // The interface writes it again when the line is edited.
    lines.setPrompt(printable(`${description} (${key})${fallback === undefined ? "" : ` [${fallback}]`}: `));
    lines.prompt();
    try {
      return this.#unlessEnded(await unlessAborted(this.#interrupt, firstLine(lines)));
    } finally {
      lines.close();
    }
  }

  async #askHidden({ description, key }: Parameter): Promise<string> {
    const what = `${description} (${key})`;
    for (;;) {
      const password = this.#unlessEnded(await this.#passwords.readOptional(what));
      if (password === "") return "";
      if (this.#unlessEnded(await this.#passwords.readOptional(`${what}, again`)) === password) return password;
      this.#say("the two are not the same");
    }
  }

  /** A terminal that was closed has nothing but empty answers left. */
  #unlessEnded(answer: string): string {
    if (!this.#input.readableEnded && !this.#input.destroyed) return answer;
    throw usageError("the terminal was closed before all was answered");
  }

  #say(text: string): void {
    this.#show.write(`${text}\n`);
  }
}

function problemOf(value: string | undefined, { required }: Parameter): string | undefined {
  if (value === undefined) return required ? "a value is needed" : undefined;
  return Buffer.byteLength(value) <= MAX_VALUE ? undefined : `a value has at most ${MAX_VALUE} bytes`;
}
