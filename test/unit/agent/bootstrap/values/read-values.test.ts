import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readValues } from "../../../../../agent/bootstrap/values/read-values.ts";

const never = new AbortController().signal;

function stdinOf(...pieces: Uint8Array[]) {
  return {
    from: "stdin" as const,
    async *stdin() {
      await Promise.resolve();
      yield* pieces;
    },
  };
}

/** Never ends. */
async function* endless() {
  await Promise.resolve();
  for (;;) yield Buffer.alloc(64 * 1024, " ");
}

describe("values from a file", () => {
  let directory: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "vmmessage-values-"));
  });
  afterEach(async () => {
    await rm(directory, { recursive: true });
  });

  test("are those that it has, and what is wrong names it", async () => {
    const path = join(directory, "values.yaml");
    await writeFile(path, "\ufeffname: web1\n");
    expect([...(await readValues({ from: "file", path }, never))]).toEqual([
      ["name", { value: "web1", isSecret: false }],
    ]);
    await writeFile(path, "name:\n");
    await expect(readValues({ from: "file", path }, never)).rejects.toThrow(`${path}, line 1: 'name' has no value`);
  });

  test("that is not there are a failure", async () => {
    const path = join(directory, "none");
    await expect(readValues({ from: "file", path }, never)).rejects.toMatchObject({
      code: "failed",
      message: expect.stringMatching(/^cannot read the values from .*none: ENOENT/) as string,
    });
  });

  test("without an end are over the limit", async () => {
    await expect(readValues({ from: "file", path: "/dev/zero" }, never)).rejects.toMatchObject({ code: "over-limit" });
  });
});

describe("values from the standard input", () => {
  test("may come in any pieces", async () => {
    const pieces = [...Buffer.from('{"name":"wéb"}\n')].map((byte) => Uint8Array.of(byte));
    expect((await readValues(stdinOf(...pieces), never)).get("name")?.value).toBe("wéb");
  });

  test("that are not UTF-8 are refused", async () => {
    const latin1 = readValues(stdinOf(Buffer.from('{"name":"wéb"}', "latin1")), never);
    await expect(latin1).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("is not UTF-8") as string,
    });
  });

  test("without an end are over the limit", async () => {
    await expect(readValues({ from: "stdin", stdin: endless }, never)).rejects.toMatchObject({
      code: "over-limit",
      message: expect.stringContaining("the standard input is over the limit of 2097152 bytes") as string,
    });
  });

  test("that never come are waited for until somebody has had enough", async () => {
    const stop = new AbortController();
    const silent = {
      from: "stdin" as const,
      stdin: () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => undefined) }) }),
    };
    const reading = readValues(silent, stop.signal);
    stop.abort(new Error("enough"));
    await expect(reading).rejects.toThrow("enough");
  });
});
