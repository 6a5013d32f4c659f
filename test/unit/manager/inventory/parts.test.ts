import { expect, describe, it } from "vitest";
import { inParallel } from "../../../../manager/in-parallel.ts";
import { linesOf } from "../../../../manager/inventory/lines.ts";
import { readUuid, socketUuid } from "../../../../manager/inventory/uuid.ts";
import { WakeUp } from "../../../../manager/wake-up.ts";

const NEVER = new AbortController().signal;

describe("lines", () => {
  async function* pieces(...texts: (string | Buffer)[]): AsyncGenerator<Uint8Array> {
    for (const text of texts) yield await Promise.resolve(Buffer.from(text));
  }

  async function read(source: AsyncIterable<Uint8Array>, maxBytes = 10): Promise<string[]> {
    const lines: string[] = [];
    for await (const line of linesOf(source, maxBytes)) lines.push(line);
    return lines;
  }

  it("come whole, however they were cut", async () => {
    expect(await read(pieces("a", "b\ncd\r\n\n", "e"))).toEqual(["ab", "cd", ""]);
  });

  it("may be cut within a character", async () => {
    const bytes = Buffer.from("é\n");
    expect(await read(pieces(bytes.subarray(0, 1), bytes.subarray(1)))).toEqual(["é"]);
  });

  it("that do not end are refused", async () => {
    await expect(read(pieces("12345", "678901"))).rejects.toThrow("a line has more than 10 bytes");
  });
});

describe("work in parallel", () => {
  it("is bounded, and its answers are in order", async () => {
    let now = 0;
    let most = 0;
    const answers = await inParallel([3, 1, 2, 5, 4], 2, async (item) => {
      most = Math.max(most, ++now);
      for (let turn = 0; turn < item; turn += 1) await Promise.resolve();
      now -= 1;
      return item * 10;
    });
    expect(answers).toEqual([30, 10, 20, 50, 40]);
    expect(most).toBe(2);
  });

  it("fails with the first that fails", async () => {
    await expect(inParallel([1, 2], 4, (item) => Promise.reject(new Error(`no ${item}`)))).rejects.toThrow("no 1");
  });
});

describe("a wake-up", () => {
  it("is kept for the next who waits, once", async () => {
    const wakeUp = new WakeUp();
    wakeUp.call();
    wakeUp.call();
    await wakeUp.wait(2 ** 30, NEVER);
    const startedAt = performance.now();
    await wakeUp.wait(20, NEVER);
    expect(performance.now() - startedAt).toBeGreaterThan(15);
  });

  it("ends a wait, and so does a signal", async () => {
    const wakeUp = new WakeUp();
    const waiting = wakeUp.wait(2 ** 30, NEVER);
    wakeUp.call();
    await waiting;
    const stop = new AbortController();
    const stopped = wakeUp.wait(2 ** 30, stop.signal);
    stop.abort();
    await stopped;
    await wakeUp.wait(2 ** 30, stop.signal);
  });
});

describe("a UUID", () => {
  it.each([
    ["5E0D9C5C-6F4E-4D0B-9A39-1D8F3A5F1C11", "5e0d9c5c-6f4e-4d0b-9a39-1d8f3a5f1c11"],
    ["00000000-0000-0000-0000-000000000000", undefined],
    ["5e0d9c5c6f4e4d0b9a391d8f3a5f1c11", undefined],
    ["--all", undefined],
  ])("'%s' is read as %s", (text, uuid) => {
    expect(readUuid(text)).toBe(uuid);
  });

  /** As Python's uuid.uuid5(uuid.NAMESPACE_URL, "file://host1/run/vms/web%201.sock") has it. */
  it("of a socket is of version 5, of its URL", () => {
    expect(socketUuid("Host1", "/run/vms/web 1.sock")).toBe("f39decd6-d814-5b23-81ca-d515e663c743");
    expect(socketUuid("host2", "/run/vms/web 1.sock")).not.toBe("f39decd6-d814-5b23-81ca-d515e663c743");
  });
});
