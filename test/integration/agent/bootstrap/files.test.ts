/** Files that are replaced together, on real disks; as root, for owners and a disk that is full. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { RenderedFiles } from "../../../../agent/bootstrap/files/rendered-files.ts";
import type { RenderedFile } from "../../../../agent/bootstrap/files/replacement.ts";

/** What changes a directory or a file, or waits for the disk; the test decides which of the calls fails. */
const disk = vi.hoisted(() => ({
  calls: "openSync writeFileSync fchownSync fsync linkSync renameSync unlinkSync mkdirSync".split(" "),
  beforeCall: (): void => undefined,
}));

vi.mock("node:fs", async (original) => {
  const fs: Record<string, unknown> = await original();
  const watched = disk.calls.map((name) => {
    const call = fs[name] as (...args: unknown[]) => unknown;
    return [
      name,
      (...args: unknown[]) => {
        disk.beforeCall();
        return call(...args);
      },
    ] as const;
  });
  return { ...fs, ...Object.fromEntries(watched) };
});

const isRoot = process.geteuid?.() === 0;
const never = new AbortController().signal;
const us = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };

let directory: string;

beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), "files-")));
});

afterEach(() => {
  disk.beforeCall = () => undefined;
  rmSync(directory, { recursive: true });
});

function at(name: string): string {
  return join(directory, name);
}

function file(name: string, content: string, more: Partial<RenderedFile> = {}): RenderedFile {
  return { path: at(name), content: Buffer.from(content), ...us, mode: 0o644, ...more };
}

function put(...files: RenderedFile[]): Promise<void> {
  return new RenderedFiles(files).apply(never).then((applied) => applied.keep());
}

function modeOf(name: string): number {
  return lstatSync(at(name)).mode & 0o7777;
}

/** Everything below a directory, with what tells one state from another. */
function tree(path = directory): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const whole = join(path, entry.name);
    const { mode, uid, gid } = lstatSync(whole);
    const rights = `${mode.toString(8)} ${uid}:${gid}`;
    if (entry.isDirectory()) Object.assign(found, { [whole]: rights }, tree(whole));
    else if (entry.isSymbolicLink()) found[whole] = `-> ${readlinkSync(whole)}`;
    else found[whole] = entry.isFile() ? `${rights} ${readFileSync(whole, "latin1")}` : rights;
  }
  return found;
}

async function refusal(...files: RenderedFile[]): Promise<string> {
  const before = tree();
  const message = await new RenderedFiles(files).apply(never).then(
    () => "applied",
    (error: unknown) => {
      expect(error).toMatchObject({ name: "ModuleError" });
      return (error as Error).message.replaceAll(directory, "");
    },
  );
  expect(tree()).toEqual(before);
  return message;
}

describe("a file", () => {
  test("is made with the directories that it needs", async () => {
    const mask = process.umask(0o077);
    try {
      await put(file("a/b/c.conf", "new", { mode: 0o640 }));
    } finally {
      process.umask(mask);
    }
    expect(readFileSync(at("a/b/c.conf"), "utf8")).toBe("new");
    expect([modeOf("a"), modeOf("a/b"), modeOf("a/b/c.conf")]).toEqual([0o755, 0o755, 0o640]);
    expect(Object.keys(tree())).toHaveLength(3);
  });

  test("that is as it is to be stays the one it is", async () => {
    await put(file("a", "x"));
    const { ino, mtimeMs } = lstatSync(at("a"));
    const applied = await new RenderedFiles([file("a", "x")]).apply(never);
    expect(applied.changed).toEqual([]);
    await applied.keep();
    expect(lstatSync(at("a"))).toMatchObject({ ino, mtimeMs });
  });

  test("is replaced for other contents, another mode, another owner and another group", async () => {
    await put(file("a", "x"));
    const others = [file("a", "y"), file("a", "y", { mode: 0o600 })];
    if (isRoot)
      others.push(file("a", "y", { mode: 0o600, uid: 12 }), file("a", "y", { mode: 0o600, uid: 12, gid: 34 }));
    for (const other of others) {
      const applied = await new RenderedFiles([other]).apply(never);
      expect(applied.changed).toEqual([at("a")]);
      await applied.keep();
      expect(readFileSync(at("a"))).toEqual(other.content);
      expect(lstatSync(at("a"))).toMatchObject({ uid: other.uid, gid: other.gid });
      expect(modeOf("a")).toBe(other.mode);
    }
    expect(Object.keys(tree())).toEqual([at("a")]);
  });

  test("takes the place of a symbolic link, and what that led to stays", async () => {
    writeFileSync(at("target"), "theirs");
    symlinkSync("target", at("a"));
    const before = tree();
    const applied = await new RenderedFiles([file("a", "ours")]).apply(never);
    expect(readFileSync(at("target"), "utf8")).toBe("theirs");
    expect(lstatSync(at("a")).isFile()).toBe(true);
    expect(await applied.rollBack()).toBe("the files are as they were");
    expect(tree()).toEqual(before);
  });

  test("whose name is as long as a name can be is replaced", async () => {
    await put(file("n".repeat(255), "x"));
    await put(file("n".repeat(255), "y"));
    expect(Object.values(tree())).toEqual([expect.stringMatching(/ y$/)]);
  });

  test("is reached over root's symbolic links", async () => {
    mkdirSync(at("real/sub"), { recursive: true });
    symlinkSync("real/sub/..", at("relative"));
    symlinkSync(at("relative/./sub"), at("absolute"));
    await put(file("absolute/a", "x"));
    expect(readFileSync(at("real/sub/a"), "utf8")).toBe("x");
  });
});

describe("a file is refused", () => {
  test("in the place of a directory", async () => {
    mkdirSync(at("a"));
    expect(await refusal(file("a", "x"))).toBe(
      "/a: it is a directory, which a file cannot replace; the files are as they were",
    );
  });

  test("in the place of a special file", async () => {
    execFileSync("mkfifo", [at("a")]);
    expect(await refusal(file("a", "x"))).toMatch(/^\/a: it is a special file/);
  });

  test("below a file", async () => {
    writeFileSync(at("a"), "");
    expect(await refusal(file("a/b", "x"))).toBe("/a/b: /a is no directory; the files are as they were");
  });

  test.each([0o775, 0o757, 0o1777])("in a directory that others may write to (mode %o)", async (mode) => {
    mkdirSync(at("a"));
    chmodSync(at("a"), mode);
    expect(await refusal(file("a/b", "x"))).toMatch(
      /^\/a\/b: others than its owner may write to \/a \(mode \d777|^\/a\/b: others than its owner may write to \/a \(mode 07/,
    );
  });

  test("below a directory that others may write to, unless it is sticky", async () => {
    mkdirSync(at("a/b"), { recursive: true });
    chmodSync(at("a"), 0o777);
    expect(await refusal(file("a/b/c", "x"))).toMatch(/others than its owner may write to \/a/);
    chmodSync(at("a"), 0o1777);
    await put(file("a/b/c", "x"));
  });

  test.runIf(isRoot)("behind another user's symbolic link", async () => {
    mkdirSync(at("a"));
    symlinkSync("a", at("link"));
    lchownSync(at("link"), 12, 34);
    expect(await refusal(file("link/b", "x"))).toMatch(/^\/link\/b: \/link is a symbolic link of the user 12/);
  });

  test("behind links that lead to themselves", async () => {
    symlinkSync("b", at("a"));
    symlinkSync("a", at("b"));
    expect(await refusal(file("a/c", "x"))).toMatch(/more than 40 symbolic links/);
  });

  test("with all that came before it", async () => {
    writeFileSync(at("a"), "old");
    mkdirSync(at("z"));
    expect(await refusal(file("a", "new"), file("made/b", "new"), file("z", "new"))).toMatch(/^\/z: it is a directory/);
  });
});

describe("files that go back", () => {
  test.runIf(isRoot)("are as they were, byte for byte, and those that were not there are gone", async () => {
    writeFileSync(at("a"), Buffer.from([0, 255, 10, 13]));
    chmodSync(at("a"), 0o4710);
    chownSync(at("a"), 12, 34);
    chmodSync(at("a"), 0o4710);
    linkSync(at("a"), at("second-name"));
    const before = tree();
    const { ino, mtimeMs } = lstatSync(at("a"));
    const applied = await new RenderedFiles([file("a", "new"), file("x/y/z", "new"), file("b", "new")]).apply(never);
    expect(applied.changed).toEqual([at("a"), at("x/y/z"), at("b")]);
    expect(await applied.rollBack()).toBe("the files are as they were");
    expect(tree()).toEqual(before);
    expect(lstatSync(at("a"))).toMatchObject({ ino, mtimeMs });
    await applied.rollBack();
    await applied.keep();
    expect(tree()).toEqual(before);
  });

  test("leave a directory that holds what others put into it by then", async () => {
    const applied = await new RenderedFiles([file("made/a", "new")]).apply(never);
    writeFileSync(at("made/log"), "theirs");
    expect(await applied.rollBack()).toBe("the files are as they were");
    expect(Object.keys(tree())).toEqual([at("made"), at("made/log")]);
  });

  test("say what could not be put back", async () => {
    const applied = await new RenderedFiles([file("a", "new"), file("b", "new")]).apply(never);
    rmSync(at("a"));
    mkdirSync(at("a"));
    expect(await applied.rollBack()).toMatch(new RegExp(`^${at("a")} could not be put back: E[A-Z]+: [a-z ]+$`));
    expect(existsSync(at("b"))).toBe(false);
  });

  test("are not replaced at all when the time is up before", async () => {
    writeFileSync(at("a"), "old");
    const before = tree();
    const stopped = AbortSignal.abort();
    await expect(new RenderedFiles([file("a", "new")]).apply(stopped)).rejects.toThrow(
      "it was stopped; the files are as they were",
    );
    expect(tree()).toEqual(before);
  });
});

describe.runIf(isRoot)("on a disk that is full", () => {
  test("nothing changes, and going back needs no room", async () => {
    mkdirSync(at("small"));
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", at("small")]);
    try {
      const old = "o".repeat(20_000);
      const next = "n".repeat(20_000);
      await put(file("small/a", old));
      expect(await refusal(file("small/a", next), file("small/b", next), file("small/c", next))).toMatch(
        /^\/small\/c: ENOSPC: no space left on device; the files are as they were$/,
      );
      const before = tree();
      const applied = await new RenderedFiles([file("small/a", next)]).apply(never);
      const room = 64 * 1024 - 2 * 20_480;
      writeFileSync(at("small/fill"), "f".repeat(room));
      expect(() => {
        writeFileSync(at("small/more"), "x");
      }).toThrow("ENOSPC");
      expect(await applied.rollBack()).toBe("the files are as they were");
      rmSync(at("small/fill"));
      rmSync(at("small/more"));
      expect(tree()).toEqual(before);
    } finally {
      execFileSync("umount", [at("small")]);
    }
  });
});

describe("after a run that was interrupted", () => {
  /** The disk as a machine finds it that lost its power while files were new and nobody had kept them. */
  async function interrupted(...files: RenderedFile[]): Promise<void> {
    await new RenderedFiles(files).apply(never);
  }

  test("files go back before they are replaced, so that they are checked again, and can go back", async () => {
    writeFileSync(at("a"), "old");
    const before = tree();
    await interrupted(file("a", "new"), file("b", "new"));
    expect(readFileSync(at("a"), "utf8")).toBe("new");
    const applied = await new RenderedFiles([file("a", "new"), file("b", "new")]).apply(never);
    expect(applied.changed).toEqual([at("a"), at("b")]);
    await applied.rollBack();
    expect(tree()).toEqual(before);
  });

  test("what it left is removed, and what somebody wrote since then stays", async () => {
    writeFileSync(at("a"), "old");
    await interrupted(file("a", "new"));
    rmSync(at("a"));
    writeFileSync(at("other"), "a person's");
    writeFileSync(at("a"), "a person's");
    expect((await new RenderedFiles([file("a", "a person's")]).apply(never)).changed).toEqual([]);
    expect(readdirSync(directory).sort()).toEqual(["a", "other"]);
  });

  test("what is left of other files stays", async () => {
    await interrupted(file("a", "new"));
    await put(file("b", "new"));
    expect(readdirSync(directory).filter((name) => name.startsWith(".vmmessage-none-"))).toHaveLength(1);
    await put(file("a", "new"));
    expect(readdirSync(directory).sort()).toEqual(["a", "b"]);
  });
});

describe("whatever fails", () => {
  const names = ["a", "b", "sub/c", "sub/deep/d"];

  const step = fc.record({
    contents: fc.array(fc.constantFrom("x", "y", "zz"), { minLength: names.length, maxLength: names.length }),
    mode: fc.constantFrom(0o644, 0o600),
    /** The call that fails, and what does: the disk, once; or the power, with everything after it. */
    failure: fc.option(fc.record({ call: fc.nat(40), isPowerCut: fc.boolean() })),
    isKept: fc.boolean(),
  });

  /** Contents and modes of the files as a run is to find them; null where there is none. */
  function state(): (string | null)[] {
    return names.map((name) => (existsSync(at(name)) ? `${modeOf(name)} ${readFileSync(at(name), "utf8")}` : null));
  }

  function failAt({ call, isPowerCut }: { call: number; isPowerCut: boolean }): void {
    let calls = 0;
    disk.beforeCall = () => {
      calls += 1;
      const isFailing = isPowerCut ? calls > call : calls === call;
      if (isFailing) throw Object.assign(new Error("EIO: i/o error, call"), { code: "EIO" });
    };
  }

  test("all files are old or all are new, and the next run finds its way", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 6 }), async (steps) => {
        for (const name of readdirSync(directory)) rmSync(at(name), { recursive: true });
        let kept = state();
        for (const { contents, mode, failure, isKept } of steps) {
          const files = new RenderedFiles(names.map((name, index) => file(name, contents[index] ?? "", { mode })));
          const next = contents.map((content) => `${mode} ${content}`);
          if (failure !== null) failAt(failure);
          const applied = await files.apply(never).catch(() => undefined);
          disk.beforeCall = () => undefined;
          if (failure?.isPowerCut === true) {
            // What a run that fails afterwards goes back to is what was there before the power was lost.
            await files.apply(never).then((again) => again.rollBack());
            expect(state()).toEqual(kept);
            continue;
          }
          expect(state()).toEqual(applied === undefined ? kept : next);
          if (isKept) await applied?.keep();
          else await applied?.rollBack();
          if (isKept && applied !== undefined) kept = next;
          expect(state()).toEqual(kept);
          expect(
            readdirSync(directory, { recursive: true }).filter((name) => String(name).includes(".vmmessage-")),
          ).toEqual([]);
        }
      }),
      { numRuns: 150 },
    );
  });
});
