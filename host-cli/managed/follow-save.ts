/** The saving of an image, waited for, with a bar where somebody looks on. */
import type { SingleBar } from "cli-progress";
import type { ImageSave } from "../../shared/api/event-schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { CommonOptions } from "../command.ts";
import type { Context } from "../context.ts";
import { ManagerLostError } from "./connect.ts";
import type { Manager } from "./manager.ts";
import { resumedStream } from "./resumed-stream.ts";

/** Settles when it is done. Throws CommandError: failed when it failed or was cancelled, unconfirmed when the time is up. */
export async function followSave(
  manager: Manager,
  begun: ImageSave,
  { style }: CommonOptions,
  { output, terminal }: Context,
): Promise<ImageSave> {
  const { id, vm } = begun;
  using bar = new ProgressBar(style === "transcript" ? terminal.show : undefined);
  const note = (text: string): void => {
    output.note(text);
  };
  const asked = () => ({ params: { id } });
  try {
    const changes = resumedStream(manager, "followImageSave", asked, { note, signal: manager.signal });
    for (;;) {
      const { value: change } = await changes.next();
      await bar.show(change.data);
      if (isDone(change.data)) return change.data;
    }
  } catch (error) {
    if (!(error instanceof ManagerLostError)) throw error;
    const message = `${error.message}; the saving ${id} of '${vm.name}' goes on: see vmmessage save show ${id}`;
    throw new CommandError("unconfirmed", message, { id, vm: vm.name }, { cause: error });
  }
}

/** Throws CommandError (failed) when it has come to another end. */
function isDone({ id, vm, state, error }: ImageSave): boolean {
  switch (state) {
    case "waiting":
    case "saving":
      return false;
    case "done":
      return true;
    case "failed":
    case "cancelled": {
      const why = error === undefined ? "" : `: ${error}`;
      const message = `the image of '${vm.name}' was not saved, the saving ${id} ${inWords(state)}${why}`;
      throw new CommandError("failed", message, { id, vm: vm.name, state });
    }
    default:
      return unreachable(state);
  }
}

function inWords(state: "failed" | "cancelled"): string {
  return state === "failed" ? "failed" : "was cancelled";
}

/** Shown while the disk is copied, which can take hours; nothing without a terminal. */
class ProgressBar implements Disposable {
  readonly #stream: Context["terminal"]["show"];
  #bar: SingleBar | undefined;

  constructor(stream: Context["terminal"]["show"]) {
    this.#stream = stream;
  }

  async show({ state, progress = 0 }: ImageSave): Promise<void> {
    if (this.#stream === undefined || state !== "saving") return;
    this.#bar ??= await startedBar(this.#stream);
    this.#bar.update(Math.floor(progress));
  }

  [Symbol.dispose](): void {
    this.#bar?.stop();
  }
}

async function startedBar(stream: NonNullable<Context["terminal"]["show"]>): Promise<SingleBar> {
  const { default: progress } = await import("cli-progress");
  const bar = new progress.SingleBar(
    { stream, format: "{bar} {value} %", clearOnComplete: true, hideCursor: true, gracefulExit: false },
    progress.Presets.shades_classic,
  );
  bar.start(100, 0);
  return bar;
}
