import { PassThrough } from "node:stream";
import type { ReadStream, WriteStream } from "node:tty";
import { describe, expect, test, vi } from "vitest";
import type { Parameter } from "../../../../../agent/bootstrap/module.ts";
import { askValues } from "../../../../../agent/bootstrap/values/ask-values.ts";
import { MAX_VALUE } from "../../../../../shared/protocol/limits.ts";

function parameter(key: string, more: Partial<Parameter> = {}): Parameter {
  const flags = { required: false, hidden: false, password: false, keep: false };
  return { key, aliases: [], description: `the ${key}`, ...flags, ...more };
}

/** A terminal as far as it is read and written; what it is asked through a real one is tried elsewhere. */
function scripted() {
  const input = new PassThrough();
  const screen = new PassThrough({ encoding: "utf8" });
  let shown = "";
  screen.on("data", (piece: string) => {
    shown += piece;
  });
  const interrupt = new AbortController();
  const asking = {
    stdin: () => input,
    terminal: { ask: () => input as unknown as ReadStream, show: screen as unknown as WriteStream },
    interrupt: interrupt.signal,
  };
  const isAsked = (text: string) => vi.waitUntil(() => shown.includes(text));
  return { input, interrupt, asking, isAsked };
}

describe("asking for values ends", () => {
  test.each([
    ["a value that is needed", {}],
    ["a password that is needed", { password: true }],
  ])("when the terminal was closed before %s was given", async (_, more) => {
    const { input, asking } = scripted();
    const asked = askValues([parameter("name", { required: true, ...more })], asking);
    input.end();
    await expect(asked).rejects.toMatchObject({
      code: "usage",
      message: "the terminal was closed before all was answered",
    });
  });

  test("when it is interrupted", async () => {
    const { interrupt, asking, isAsked } = scripted();
    const asked = askValues([parameter("name")], asking);
    await isAsked("the name (name): ");
    interrupt.abort(new Error("ended by SIGTERM"));
    await expect(asked).rejects.toThrow("ended by SIGTERM");
  });
});

test("a value that is too long is asked for again", async () => {
  const { input, asking, isAsked } = scripted();
  const asked = askValues([parameter("name")], asking);
  input.write(`${"x".repeat(MAX_VALUE + 1)}\r`);
  await isAsked(`a value has at most ${MAX_VALUE} bytes`);
  input.write("web1\r");
  expect([...(await asked)]).toEqual([["name", { value: "web1", isSecret: false }]]);
});

test("a key is required, and a password, where it is to one of the modules that take it", async () => {
  const { input, asking, isAsked } = scripted();
  const plain = parameter("pin", { description: "first" });
  const asked = askValues([plain, parameter("pin", { required: true, password: true, description: "second" })], asking);
  await isAsked("first (pin): ");
  input.write("\r");
  await isAsked("a value is needed\nfirst (pin): ");
  input.write("1\r");
  await isAsked("first (pin), again: ");
  input.write("1\r");
  expect([...(await asked)]).toEqual([["pin", { value: "1", isSecret: true }]]);
});
