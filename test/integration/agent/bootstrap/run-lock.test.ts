/** The lock between real processes that all begin at once, and are killed. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { withRunLock } from "../../../../agent/bootstrap/run-lock.ts";

const MODULE = join(import.meta.dirname, "../../../../agent/bootstrap/run-lock.ts");
const HELD = "this machine is being configured already; try again when that is done";
const ROUNDS = 20;

/**
 * At each line that it reads it tries to run: `short`, which ends by itself, `long`, which does not, or `child`, which leaves a
 * program behind. It says `inside`, and how it ended. Two that are inside at once meet at the file.
 */
const CONTENDER = `
import { spawn } from "node:child_process";
import { closeSync, openSync, unlinkSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import { withRunLock } from ${JSON.stringify(MODULE)};

const [runDirectory, meeting] = process.argv.slice(2);

async function work(kind) {
  if (kind === "child") spawn("sleep", ["30"], { detached: true, stdio: "ignore" }).unref();
  if (kind !== "short") console.log("inside");
  if (kind !== "short") await setTimeout(60_000);
  closeSync(openSync(meeting, "wx"));
  await setTimeout(5);
  unlinkSync(meeting);
}

for await (const kind of createInterface({ input: process.stdin })) {
  await withRunLock(runDirectory, () => work(kind)).then(
    () => console.log("ran"),
    (error) => console.log(error.message),
  );
}
`;

interface Contender {
  child: ChildProcessByStdio<Writable, Readable, null>;
  lines: Interface;
}

let directory: string;
let runDirectory: string;
const contenders: Contender[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "lock-"));
  runDirectory = join(directory, "run/vmmessage");
  writeFileSync(join(directory, "contender.mjs"), CONTENDER);
});

afterEach(() => {
  for (const { child } of contenders.splice(0)) child.kill("SIGKILL");
  rmSync(directory, { recursive: true });
});

function contender(): Contender {
  const args = [join(directory, "contender.mjs"), runDirectory, join(directory, "meeting")];
  const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
  const one = { child, lines: createInterface({ input: child.stdout }) };
  contenders.push(one);
  return one;
}

/** What it says next. */
async function tries({ child, lines }: Contender, kind: "short" | "long" | "child"): Promise<string> {
  const said = once(lines, "line");
  child.stdin.write(`${kind}\n`);
  const [line] = (await said) as [string];
  return line;
}

async function killed(one: Contender | undefined): Promise<void> {
  if (one === undefined) return;
  const exited = once(one.child, "exit");
  one.child.kill("SIGKILL");
  await exited;
}

describe("a run", () => {
  test("is alone, however many programs begin at once", async () => {
    const four = [contender(), contender(), contender(), contender()];
    for (let round = 0; round < ROUNDS; round++) {
      const said = await Promise.all(four.map((one) => tries(one, "short")));
      expect(said.filter((line) => line !== HELD)).toContain("ran");
      expect(said.filter((line) => line !== HELD && line !== "ran")).toEqual([]);
    }
  });

  test("that is killed lets the next one in, and only one", async () => {
    const four = [contender(), contender(), contender(), contender()];
    for (let round = 0; round < ROUNDS; round++) {
      const said = await Promise.all(four.map((one) => tries(one, "long")));
      expect(said.toSorted()).toEqual(["inside", HELD, HELD, HELD]);
      const [inside] = four.splice(said.indexOf("inside"), 1, contender());
      await killed(inside);
    }
  });

  test("that is killed leaves no lock with what it started", async () => {
    const one = contender();
    expect(await tries(one, "child")).toBe("inside");
    await killed(one);
    expect(await withRunLock(runDirectory, () => Promise.resolve("in"))).toBe("in");
  });

  test("keeps out others of its own program, until it ends or fails", async () => {
    const { promise: end, reject: fail } = Promise.withResolvers<undefined>();
    const begun = Promise.withResolvers<undefined>();
    const first = withRunLock(runDirectory, () => {
      begun.resolve(undefined);
      return end;
    });
    await begun.promise;
    const second = withRunLock(runDirectory, () => Promise.resolve());
    await expect(second).rejects.toMatchObject({ name: "CommandError", code: "held", message: HELD });
    fail(new Error("no"));
    await expect(first).rejects.toThrow("no");
    expect(await withRunLock(runDirectory, () => Promise.resolve("in"))).toBe("in");
  });

  test("is locked by nobody but its user, in a directory that is made for it", async () => {
    await withRunLock(runDirectory, () => Promise.resolve());
    expect(statSync(join(runDirectory, "bootstrap.lock")).mode & 0o777).toBe(0o600);
    expect(statSync(runDirectory).mode & 0o777).toBe(0o755);
  });
});
