/** Shows a guest's run while it is under way: a line for each module, which changes where somebody looks on. */
import type { MultiBar, SingleBar } from "cli-progress";
import type { Output } from "../../shared/cli/output.ts";
import { printable } from "../../shared/terminal-text.ts";
import type { OutputStyle } from "../command.ts";
import type { Context } from "../context.ts";
import type { ModuleReport, RunView } from "./followed-run.ts";
import { moduleLine, printedLines } from "./run-words.ts";

export interface RunDisplay extends Disposable {
  show: (view: RunView) => void;
  /** Something to know beside it. */
  note: (text: string) => void;
}

export async function openRunDisplay(style: OutputStyle, { output, terminal }: Context): Promise<RunDisplay> {
  if (style === "quiet") return silent;
  const lines = new LinesDisplay(output, style === "transcript");
  if (style !== "transcript" || terminal.show === undefined) return lines;
  const { default: progress } = await import("cli-progress");
  const stream = terminal.show;
  // Notes are printed above, which moves the lines: all of them have to be drawn again.
  const options = { stream, format: liveLine, forceRedraw: true, hideCursor: true, gracefulExit: false };
  return new LiveDisplay(new progress.MultiBar(options), { lines, rows: stream.rows });
}

const silent: RunDisplay = { show: () => undefined, note: () => undefined, [Symbol.dispose]: () => undefined };

/** A line for each module when it has ended, where lines cannot be changed any more. */
class LinesDisplay implements RunDisplay {
  readonly #output: Output;
  readonly #tellsModules: boolean;

  constructor(output: Output, tellsModules: boolean) {
    this.#output = output;
    this.#tellsModules = tellsModules;
  }

  show({ ended }: RunView): void {
    if (this.#tellsModules) for (const module of ended) this.#tell(module);
  }

  note(text: string): void {
    this.#output.note(text);
  }

  #tell(module: ModuleReport): void {
    this.note(moduleLine(module));
    for (const line of printedLines(module)) this.note(line);
  }

  [Symbol.dispose](): void {
    // Nothing is held.
  }
}

/** What a line shows. */
interface LiveModule {
  module: ModuleReport;
  width: number;
  /** On the clock of `performance.now()`. */
  runningSinceMs: number | undefined;
}

/** The modules' lines are cut at the terminal's edge, so that each is one; a note goes on below (DECAWM and ED of ECMA-48's terminals). */
const WRAP = "\u001b[?7h";
const NO_WRAP = "\u001b[?7l";
const CLEAR_BELOW = "\u001b[J";

/** Room for the prompt and a note. */
const SPARE_ROWS = 2;

/** Lines that are above the terminal's first cannot be changed: a run with more modules than that is told line by line. */
class LiveDisplay implements RunDisplay {
  readonly #bars: MultiBar;
  readonly #lines: RunDisplay;
  readonly #rows: number;
  readonly #shown: { bar: SingleBar; live: LiveModule }[] = [];

  constructor(bars: MultiBar, { lines, rows }: { lines: RunDisplay; rows: number }) {
    this.#bars = bars;
    this.#lines = lines;
    this.#rows = rows;
  }

  show(view: RunView): void {
    if (view.modules.length > this.#rows - SPARE_ROWS) {
      this[Symbol.dispose]();
      this.#lines.show(view);
      return;
    }
    const width = Math.max(...view.modules.map(({ name }) => name.length));
    for (const [index, module] of view.modules.entries()) this.#showModule(index, module, width);
    for (const { bar } of this.#shown.splice(view.modules.length)) this.#bars.remove(bar);
  }

  note(text: string): void {
    if (this.#shown.length === 0) this.#lines.note(text);
    else this.#bars.log(`${WRAP}vmmessage: ${printable(text)}${CLEAR_BELOW}\n${NO_WRAP}`);
  }

  /** The lines stay as they are; below them stands what failed modules printed. */
  [Symbol.dispose](): void {
    if (this.#shown.length === 0) return;
    this.#bars.update();
    this.#bars.stop();
    for (const { live } of this.#shown.splice(0)) this.#tellPrinted(live.module);
  }

  #tellPrinted(module: ModuleReport): void {
    const lines = printedLines(module);
    if (lines.length > 0) this.#lines.note(`${module.name}:`);
    for (const line of lines) this.#lines.note(line);
  }

  #showModule(index: number, module: ModuleReport, width: number): void {
    const shown = this.#shown[index];
    const live: LiveModule = { module, width, runningSinceMs: runningSince(module, shown?.live) };
    if (shown === undefined) this.#shown.push({ bar: this.#bars.create(1, 0, live), live });
    else {
      shown.live = live;
      shown.bar.update(0, live);
    }
  }
}

function runningSince({ name, state }: ModuleReport, before: LiveModule | undefined): number | undefined {
  if (state !== "running") return undefined;
  const isSame = before?.module.name === name ? before.runningSinceMs : undefined;
  return isSame ?? performance.now();
}

/** Called for each drawing, so that the time goes on between two reports. */
function liveLine(_options: unknown, _params: unknown, { module, width, runningSinceMs }: LiveModule): string {
  const durationMs = runningSinceMs === undefined ? module.durationMs : performance.now() - runningSinceMs;
  return printable(moduleLine({ ...module, ...(durationMs !== undefined && { durationMs }) }, width));
}
