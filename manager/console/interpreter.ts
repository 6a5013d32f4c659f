/** From a line to its answer, for one user; knows nothing of SSH. */
import { CommandError, usageError } from "../../shared/cli/failure.ts";
import type { Principal } from "../access/principal.ts";
import type { Log } from "../../shared/log.ts";
import type { Service } from "../service/service.ts";
import { type Answer, type Outcome, shapeAnswer } from "./answer.ts";
import { type CommandLine, parseCommandLine } from "./command-line.ts";
import { runCommand } from "./commands/command.ts";
import { helpLines } from "./commands/help.ts";
import { commands } from "./commands/index.ts";

/** `nothing`: a line without words. `end`: the user asked to leave. */
export type Reply = Answered | { type: "nothing" } | { type: "end" };

interface Answered {
  type: "answer";
  answer: Answer;
}

export class Interpreter {
  readonly #service: Service;
  readonly #who: Principal;
  readonly #log: Log;

  constructor({ service, who, log }: { service: Service; who: Principal; log: Log }) {
    this.#service = service;
    this.#who = who;
    this.#log = log;
  }

  /** Never rejects. */
  async reply(line: string, signal: AbortSignal): Promise<Reply> {
    try {
      const command = parseCommandLine(line);
      if (command === undefined) return { type: "nothing" };
      if (command.verb === "exit" || command.verb === "quit") return { type: "end" };
      return answered(line, { type: "done", lines: await this.#run(command, signal) });
    } catch (error) {
      return answered(line, { type: "failed", error: this.#failure(error, signal) });
    }
  }

  #run(line: CommandLine, signal: AbortSignal): Promise<readonly string[]> {
    if (line.verb === "help") return Promise.resolve(helpLines(commands, line));
    const command = commands.find(({ verb }) => verb.toLowerCase() === line.verb);
    if (command === undefined) throw usageError(`there is no command '${line.verb}'; help lists them`);
    return runCommand(command, line, { service: this.#service, who: this.#who, signal });
  }

  #failure(error: unknown, signal: AbortSignal): CommandError {
    if (error instanceof CommandError) return error;
    if (!signal.aborted) this.#log.error("console.command-failed", { who: this.#who.name, error });
    return new CommandError("failed", "the manager failed; its log says why");
  }
}

/** The answer to a line that could not even be read. */
export function refusal(error: CommandError): Answered {
  return answered("", { type: "failed", error });
}

function answered(line: string, outcome: Outcome): Answered {
  return { type: "answer", answer: shapeAnswer(line, outcome, new Date()) };
}
