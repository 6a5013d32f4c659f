/** Tells of many VMs' results: a bar while they come and a table at the end, or a line for each as it comes. */
import type { SingleBar } from "cli-progress";
import type { FleetResult, FleetSummary } from "../../shared/api/schemas.ts";
import { tableLines } from "../../shared/cli/table.ts";
import { printable } from "../../shared/terminal-text.ts";
import type { FleetRequestCommand, OutputStyle } from "../command.ts";
import type { Context } from "../context.ts";
import { bareResult, failureOf, noteOf, resultFacts, resultInWords } from "./fleet-result.ts";

export class FleetReport implements Disposable {
  readonly #request: FleetRequestCommand;
  readonly #style: OutputStyle;
  readonly #context: Context;
  /** For the table; at most as many as the manager has VMs, each bounded by an answer's size. */
  readonly #rows: string[][] = [];
  #bar: SingleBar | undefined;

  constructor(request: FleetRequestCommand, style: OutputStyle, context: Context) {
    this.#request = request;
    this.#style = style;
    this.#context = context;
  }

  async begin(vms: number): Promise<void> {
    const { show } = this.#context.terminal;
    if (this.#style !== "transcript" || show === undefined) return;
    const { default: progress } = await import("cli-progress");
    const format = "{bar} {value} of {total} VMs";
    this.#bar = new progress.SingleBar(
      { stream: show, format, clearOnComplete: true, hideCursor: true, gracefulExit: false },
      progress.Presets.shades_classic,
    );
    this.#bar.start(vms, 0);
  }

  /** Settles when what was printed of it has been read. */
  async take(result: FleetResult): Promise<void> {
    const { output } = this.#context;
    const { name } = result.vm;
    this.#bar?.increment();
    if (this.#style === "json") output.json(resultFacts(result));
    else if (this.#style === "quiet") this.#tellBare(result);
    else this.#rows.push([name, result.status, resultInWords(result), noteOf(result)]);
    await output.drained();
  }

  /** `VM<tab>VALUE`; what failed stands on stderr, where it cannot be taken for a value. */
  #tellBare(result: FleetResult): void {
    const { output } = this.#context;
    const { name } = result.vm;
    const failure = failureOf(result);
    if (failure !== undefined) output.note(`'${name}': ${failure.message}`);
    else output.listLine(`${printable(name)}\t${printable(bareResult(result))}`);
  }

  finish(summary: FleetSummary, messageId: string | undefined): void {
    this.close();
    const { output } = this.#context;
    if (this.#style === "json") output.json({ summary: { ...summary, ...(messageId !== undefined && { messageId }) } });
    if (this.#style === "transcript") output.line(summaryInWords(summary));
  }

  /** Takes the bar away and prints the table of what has come. */
  close(): void {
    this.#bar?.stop();
    this.#bar = undefined;
    const rows = this.#rows.splice(0).sort(([a = ""], [b = ""]) => a.localeCompare(b, "en", { numeric: true }));
    if (rows.length === 0) return;
    const header = ["VM", "STATUS", this.#request.name === "get" ? "VALUE" : "RESULT", "NOTE"];
    for (const line of tableLines(header, rows)) this.#context.output.line(line);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** `97 of 100 done, 2 queued, 1 failed` */
function summaryInWords({ vms, done, queued, failed }: FleetSummary): string {
  const rest = [queued > 0 ? `, ${queued} queued` : "", failed > 0 ? `, ${failed} failed` : ""].join("");
  return `${done} of ${vms} done${rest}`;
}
