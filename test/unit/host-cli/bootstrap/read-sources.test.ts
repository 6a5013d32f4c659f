import { execFileSync } from "node:child_process";
import { constants } from "node:fs";
import { chmod, mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { BootstrapCommand } from "../../../../host-cli/bootstrap-command.ts";
import { readBootstrapEntries } from "../../../../host-cli/bootstrap/read-sources.ts";
import type { Context } from "../../../../host-cli/context.ts";
import { bootstrapReport, COMMIT_KEY, REPORT_KEY, REPORT_ROOM } from "../../../../shared/bootstrap.ts";
import { CommandError, Interruption } from "../../../../shared/cli/failure.ts";
import { Output } from "../../../../shared/cli/output.ts";
import { PasswordReader } from "../../../../shared/cli/password-reader.ts";
import { MAX_ENTRIES_PER_CHANGE, MAX_VALUE } from "../../../../shared/protocol/limits.ts";
import type { NewEntry } from "../../../../shared/protocol/message.ts";

let directory: string;
let notes: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmm-sources-"));
  notes = "";
});

afterEach(() => rm(directory, { recursive: true, force: true }));

/** Everything that is printed is a note. */
function contextWith(stdin: string, interrupt = new AbortController().signal): Context {
  const stderr = new Writable({
    write: (piece: Buffer, _encoding, done) => {
      notes += String(piece);
      done();
    },
  });
  return {
    output: new Output("vmmessage", { stdout: stderr, stderr }),
    stdin: () => Readable.from([Buffer.from(stdin)]),
    terminal: { ask: () => undefined, show: undefined },
    interrupt,
    environment: {},
    uid: 0,
    home: "/",
  };
}

function entriesOf(
  asked: Partial<BootstrapCommand>,
  stdin = "",
  interrupt?: AbortSignal,
  commit = "c1",
): Promise<NewEntry[]> {
  const command = { values: [], secrets: [], file: undefined, commit: undefined, follows: false, ...asked };
  const context = contextWith(stdin, interrupt);
  return readBootstrapEntries(command as unknown as BootstrapCommand, commit, { context, passwords: new PasswordReader(context) }); // prettier-ignore
}

async function problem(asked: Partial<BootstrapCommand>, stdin = ""): Promise<string> {
  const error: unknown = await entriesOf(asked, stdin).then(() => undefined, (reason: unknown) => reason); // prettier-ignore
  if (!(error instanceof CommandError)) throw new Error(`no refusal: ${String(error)}`);
  return `${error.code}: ${error.message}`;
}

async function file(name: string, contents: string | Uint8Array, mode = 0o600): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, contents);
  await chmod(path, mode);
  return path;
}

const fromFile = (key: string, path: string) => ({ from: "file", key, path }) as const;
const prompt = (key: string) => ({ from: "prompt", key, prompt: key }) as const;

describe("the entries are", () => {
  it("those of the file, then those of the command line, the secrets, and the commit at the end", async () => {
    await file("db-password", "s3cret\n");
    const yaml = "keys: {a: 007}\nsecrets: {p: {file: db-password}, q: {prompt: Q}}\n";
    const path = await file("web1.yaml", yaml, 0o644);
    const asked = { file: path, values: [{ key: "b", value: "x" }], secrets: [prompt("r")] };
    expect(await entriesOf(asked, "typed\r\nlast")).toEqual([
      { key: "a", value: "007" },
      { key: "b", value: "x" },
      { key: "p", value: "s3cret", secret: true },
      { key: "q", value: "typed", secret: true },
      { key: "r", value: "last", secret: true },
      { key: COMMIT_KEY, value: "c1" },
    ]);
    expect(notes).toBe("");
  });

  it("those of the standard input", async () => {
    expect(await entriesOf({ file: "-" }, "keys: {a: 1}\n")).toEqual([
      { key: "a", value: "1" },
      { key: COMMIT_KEY, value: "c1" },
    ]);
  });

  it("the commit alone, for keys that were set before", async () => {
    expect(await entriesOf({ commit: "c1" })).toEqual([{ key: COMMIT_KEY, value: "c1" }]);
  });

  it.each([
    ["one newline", Buffer.from("a\n\n"), { value: "a\n" }],
    ["nothing else", Buffer.from(" a\r"), { value: " a\r" }],
    ["nothing of bytes", Buffer.from([0xff, 0x00]), { base64: "/wA=" }],
  ])("a secret's file without %s", async (_, bytes, value) => {
    const path = await file("secret", bytes);
    const [entry] = await entriesOf({ secrets: [fromFile("p", path)] });
    expect(entry).toEqual({ key: "p", ...value, secret: true });
  });

  it.each(["c1", "ü".repeat(200), "x".repeat(256)])(
    "with room for the report of the run of %s that is followed",
    async (commit) => {
      const [set, room, ...more] = await entriesOf({ follows: true }, "", undefined, commit);
      expect([set, more]).toEqual([{ key: COMMIT_KEY, value: commit }, []]);
      expect(room?.key).toBe(REPORT_KEY);
      expect(Buffer.byteLength(room?.value ?? "")).toBe(REPORT_ROOM);
      expect(JSON.parse(room?.value ?? "")).toMatchObject({ state: "sent", commit });
      expect(bootstrapReport.safeParse(JSON.parse(room?.value ?? "")).success).toBe(false);
    },
  );

  it("a secret out of a pipe, whose writer is waited for", async () => {
    const path = join(directory, "pipe");
    execFileSync("mkfifo", [path]);
    const reading = entriesOf({ secrets: [fromFile("p", path)] });
    await writeFile(path, "from a pipe\n");
    expect((await reading)[0]).toEqual({ key: "p", value: "from a pipe", secret: true });
  });

  it("values out of a pipe, whose writer may take its time", async () => {
    const path = join(directory, "pipe");
    execFileSync("mkfifo", [path]);
    const reading = entriesOf({ file: path });
    const writer = await open(path, "w");
    await writer.write("keys: {a: 1,");
    await writer.write(" b: 2}\n");
    await writer.close();
    expect(await reading).toHaveLength(3);
  });
});

it.each([
  [0o640, true],
  [0o604, true],
  [0o600, false],
])("a secret's file with mode %o is noted when others may read it", async (mode, isNoted) => {
  const path = await file("secret", "x", mode);
  await entriesOf({ secrets: [fromFile("p", path)] });
  expect(notes).toBe(isNoted ? `vmmessage: others may read ${path}, and with it the secret 'p'\n` : "");
});

describe("Ctrl-C ends the reading of a pipe", () => {
  it.each([
    ["without a writer", "secret", false],
    ["with a silent writer", "secret", true],
    ["without a writer", "file", false],
    ["with a silent writer", "file", true],
  ])("%s: %s", async (_, what, hasWriter) => {
    const path = join(directory, "pipe");
    execFileSync("mkfifo", [path]);
    const interrupt = new AbortController();
    const asked = what === "file" ? { file: path } : { secrets: [fromFile("p", path)] };
    const reading = entriesOf(asked, "", interrupt.signal);
    const writer = hasWriter ? await open(path, "w") : undefined;
    interrupt.abort(new Interruption("SIGINT", 130));
    await expect(reading).rejects.toBeInstanceOf(Interruption);
    // Nobody reads any more.
    await expect(writer === undefined ? open(path, constants.O_WRONLY | constants.O_NONBLOCK) : writer.write("x")).rejects.toThrow(/ENXIO|EPIPE/); // prettier-ignore
    await writer?.close();
  });
});

it.each(["org.vmmessage.root-password", "com.oracle.linux.root-password"])(
  "a value of %s is noted, a secret is not",
  async (key) => {
    // prettier-ignore
    await entriesOf({ values: [{ key, value: "x" }] });
    expect(notes).toBe(
      `vmmessage: '${key}' is sent for everybody to read who may read keys; make it a secret (secrets:, --secret, --secret-file)\n`,
    );
    notes = "";
    await entriesOf({ secrets: [prompt(key)] }, "x\n");
    expect(notes).toBe("");
  },
);

describe("nothing is sent when", () => {
  it("a key is given twice, in the file and on the command line", async () => {
    const path = await file("web1.yaml", "keys: {a: 1}\n");
    const twice = "usage: the key 'a' stands twice in one change";
    expect(await problem({ file: path, values: [{ key: "a", value: "2" }] })).toBe(twice);
    expect(await problem({ file: path, secrets: [prompt("a")] })).toBe(twice);
  });

  it.each([COMMIT_KEY, REPORT_KEY])("the key is %s, which is the bootstrap's own", async (key) => {
    expect(await problem({ values: [{ key, value: "1" }] })).toMatch(`usage: '${key}' is `);
  });

  it("somebody would have to be asked on the standard input, which the values are read from", async () => {
    const stdin = "secrets: {p: {prompt: P}}\n";
    expect(await problem({ file: "-" }, stdin)).toBe(
      "usage: the values come from the standard input, so that nobody can be asked for 'p'; give a --file",
    );
  });

  it("nothing is typed for a secret", async () => {
    expect(await problem({ secrets: [prompt("p")] })).toBe("usage: no p was given");
  });

  it("a file is not there, or is empty", async () => {
    const nowhere = join(directory, "nowhere");
    expect(await problem({ file: nowhere })).toBe(`usage: --file: cannot read ${nowhere} (ENOENT)`);
    expect(await problem({ secrets: [fromFile("p", nowhere)] })).toBe(
      `failed: cannot read the secret 'p' from ${nowhere} (ENOENT)`,
    );
    const empty = await file("empty", "\n");
    expect(await problem({ secrets: [fromFile("p", empty)] })).toBe(
      `failed: ${empty} is empty; the secret 'p' needs a value`,
    );
    expect(await problem({ secrets: [fromFile("p", directory)] })).toContain("(EISDIR)");
    expect(await problem({ file: directory })).toBe(`failed: --file: cannot read ${directory} (EISDIR)`);
  });

  it("something is too large", async () => {
    const most = "x".repeat(MAX_VALUE);
    const path = await file("secret", `${most}\n`);
    expect(await entriesOf({ values: [{ key: "a", value: most }], secrets: [fromFile("p", path)] })).toHaveLength(3);
    const tooLarge = `over-limit: the value of 'a' is over the limit of ${MAX_VALUE} bytes`;
    expect(await problem({ values: [{ key: "a", value: `${most}x` }] })).toBe(tooLarge);
    expect(await problem({ secrets: [fromFile("a", await file("more", `${most}xx`))] })).toBe(tooLarge);
    expect(await problem({ secrets: [fromFile("a", "/dev/zero")] })).toBe(tooLarge);
    expect(await problem({ file: "/dev/zero" })).toBe("usage: /dev/zero is over 524288 bytes; it is another file");
  });

  it("it is too much for one message", async () => {
    const keys = (count: number, value: string) => {
      return { values: Array.from({ length: count }, (_, index) => ({ key: `k${index}`, value })) };
    };
    expect(await entriesOf(keys(MAX_ENTRIES_PER_CHANGE - 1, "x"))).toHaveLength(MAX_ENTRIES_PER_CHANGE);
    expect(await problem(keys(MAX_ENTRIES_PER_CHANGE, "x"))).toBe(
      "over-limit: 1025 keys, the commit among them, are over the limit of 1024 for one set",
    );
    expect(await problem({ ...keys(MAX_ENTRIES_PER_CHANGE - 1, "x"), follows: true })).toBe(
      "over-limit: 1025 keys, the commit and the report among them, are over the limit of 1024 for one set",
    );
    expect(await problem(keys(8, "x".repeat(MAX_VALUE)))).toMatch(/^over-limit: the keys take \d+ bytes together/);
  });
});
