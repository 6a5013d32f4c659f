import { Writable } from "node:stream";
import { expect, it } from "vitest";
import { Output } from "../../../../shared/cli/output.ts";

/** Takes a line when it is let. */
function slow(): { stream: Writable; release: () => void } {
  let release = (): void => undefined;
  const stream = new Writable({
    highWaterMark: 1,
    write: (_piece, _encoding, done) => {
      release = done;
    },
  });
  return { stream, release: () => { release(); } }; // prettier-ignore
}

it("the notes' reader is waited for as the answers' is, and not when it is gone", async () => {
  const stderr = slow();
  const output = new Output("vmmessage", { stdout: slow().stream, stderr: stderr.stream });
  output.note("a module");
  let isDrained = false;
  const draining = output.drained().then(() => (isDrained = true));
  await new Promise(setImmediate);
  expect(isDrained).toBe(false);
  stderr.release();
  await draining;

  output.note("another");
  const waiting = output.drained();
  stderr.stream.destroy(new Error("EPIPE"));
  await waiting;
  await output.drained();
});
