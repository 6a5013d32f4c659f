import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findModules, type FoundModules } from "../../../../agent/bootstrap/find-modules.ts";
import type { ConfigModule } from "../../../../agent/bootstrap/module.ts";
import { MAX_MODULES } from "../../../../shared/bootstrap.ts";

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "modules-"));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

function fileAt(name: string, text: string, mode = 0o644): string {
  const path = join(directory, name);
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

function header(name: string): string {
  return `#!/bin/sh\n### BEGIN PLUGIN INFO\n# name: ${name}\n# configure: 50\n### END PLUGIN INFO\n`;
}

function scriptAt(file: string, name = file, mode = 0o755): string {
  return fileAt(file, header(name), mode);
}

function templateAt(file: string, name: string): string {
  return fileAt(file, `name: ${name}\nfiles:\n  - { path: /etc/example.conf, content: x }\n`);
}

function builtinOf(name: string): ConfigModule {
  return {
    name,
    description: "",
    kind: "builtin",
    path: undefined,
    orders: new Map([["configure", 50]]),
    timeoutMs: 1_000,
    parameters: () => Promise.resolve([]),
    run: () => Promise.resolve({ results: {} }),
    preview: () => Promise.resolve([]),
  };
}

async function find(directories = [directory], builtin: ConfigModule[] = []): Promise<FoundModules> {
  return findModules(directories, { builtin, pythonDirectory: "/nowhere" });
}

async function namesFound(): Promise<string[]> {
  return (await find()).modules.map(({ name }) => name);
}

/** The reasons of what is left out, when nothing else is there. */
async function reasonsFound(directories = [directory]): Promise<string[]> {
  const { modules, problems } = await find(directories);
  expect(modules).toEqual([]);
  return problems.map(({ reason }) => reason);
}

describe("modules", () => {
  test("are executables with a header and templates, by their names", async () => {
    const script = scriptAt("10-script", "zebra");
    const template = templateAt("site.yaml", "antelope");
    const other = templateAt("other.yml", "mole");
    const { modules, problems } = await find();
    expect(modules.map(({ name, kind, path }) => ({ name, kind, path }))).toEqual([
      { name: "antelope", kind: "template", path: template },
      { name: "mole", kind: "template", path: other },
      { name: "zebra", kind: "script", path: script },
    ]);
    expect(problems).toEqual([]);
  });

  test("are links to such files, too", async () => {
    scriptAt("elsewhere/script", "linked");
    mkdirSync(join(directory, "modules"), { mode: 0o755 });
    symlinkSync("../elsewhere/script", join(directory, "modules", "any"));
    const { modules } = await find([join(directory, "modules")]);
    expect(modules.map(({ name, path }) => ({ name, path }))).toEqual([
      { name: "linked", path: join(directory, "modules", "any") },
    ]);
  });

  test.each([".hidden", "script~", "script.bak", "script.orig", "script.rpmsave", "script.dpkg-dist", ".x.swp", "#x#"])(
    "are not what an editor or a package manager left: %s",
    async (name) => {
      scriptAt(name, "left-behind");
      scriptAt("script");
      expect(await find()).toMatchObject({ modules: [{ name: "script" }], problems: [] });
    },
  );

  test("are not text files, directories and links to them", async () => {
    fileAt("README", "about these modules");
    scriptAt("not-executable", "not-executable", 0o644);
    mkdirSync(join(directory, "directory.yaml"));
    symlinkSync("directory.yaml", join(directory, "link"));
    expect(await find()).toEqual({ modules: [], problems: [] });
  });

  test("of a directory that is not there are none, and no problem", async () => {
    expect(await find([join(directory, "missing")])).toEqual({ modules: [], problems: [] });
  });

  test("of one name are that of the first directory, before what comes with the agent", async () => {
    const path = scriptAt("first/script", "same");
    scriptAt("second/script", "same");
    scriptAt("second/other", "hostname");
    const directories = [join(directory, "first"), join(directory, "second")];
    const { modules, problems } = await find(directories, [builtinOf("users"), builtinOf("hostname")]);
    expect(modules.map(({ name, kind, path: at }) => ({ name, kind, at }))).toEqual([
      { name: "hostname", kind: "script", at: join(directory, "second/other") },
      { name: "same", kind: "script", at: path },
      { name: "users", kind: "builtin", at: undefined },
    ]);
    expect(problems).toEqual([]);
  });
});

describe("a problem is told, and the others are found", () => {
  test("when an executable has no header", async () => {
    const path = fileAt("tool", "#!/bin/sh\nexit 0\n", 0o755);
    scriptAt("well");
    const { modules, problems } = await find();
    expect(modules.map(({ name }) => name)).toEqual(["well"]);
    expect(problems).toEqual([{ path, reason: `${path}: no '### BEGIN PLUGIN INFO' in its first 65536 bytes` }]);
  });

  test("when a header begins too late in a file", async () => {
    const path = fileAt("late", `${"#\n".repeat(32_768)}${header("late")}`, 0o755);
    expect(await reasonsFound()).toEqual([`${path}: no '### BEGIN PLUGIN INFO' in its first 65536 bytes`]);
    fileAt("late", `${header("late")}${"#\n".repeat(1_000_000)}`, 0o755);
    expect(await namesFound()).toEqual(["late"]);
  });

  test("when a header is wrong", async () => {
    const path = fileAt("wrong", header("wrong").replace("50", "fifty"), 0o755);
    expect(await reasonsFound()).toEqual([`${path}:4: configure: expected a number from 0 to 999, found 'fifty'`]);
  });

  test("when a template is wrong, too long or no text", async () => {
    const path = fileAt("wrong.yaml", "name: [");
    const [reason = ""] = await reasonsFound();
    expect(reason).toContain(path);
    fileAt("wrong.yaml", `# ${"x".repeat(256 * 1024)}\n`);
    expect(await reasonsFound()).toEqual([`${path}: longer than 262144 bytes`]);
    writeFileSync(path, Buffer.from([0x6e, 0xff]));
    expect(await reasonsFound()).toEqual([`${path}: not UTF-8`]);
  });

  test("when a link leads nowhere, or to itself", async () => {
    symlinkSync("missing", join(directory, "a"));
    symlinkSync("b", join(directory, "b"));
    expect(await reasonsFound()).toEqual([
      `${join(directory, "a")}: what it names does not exist`,
      `${join(directory, "b")}: ELOOP`,
    ]);
  });

  test("when two files of a directory have one name", async () => {
    const one = scriptAt("one", "same");
    const two = scriptAt("two", "same");
    const { modules, problems } = await find();
    expect(modules.map(({ path }) => path)).toEqual([one]);
    expect(problems).toEqual([{ path: two, reason: `${two}: left out, since ${one} is called 'same' too` }]);
  });

  test("when a directory is none", async () => {
    const path = fileAt("file", "");
    expect(await reasonsFound([path])).toEqual([`${path}: ENOTDIR`]);
  });

  test("when there are too many modules", async () => {
    for (let index = 100; index < 100 + MAX_MODULES; index += 1) scriptAt(`script-${index}`);
    const { modules, problems } = await find([directory], [builtinOf("hostname")]);
    expect(modules).toHaveLength(MAX_MODULES);
    expect(modules.some(({ name }) => name === "hostname")).toBe(true);
    const path = join(directory, `script-${99 + MAX_MODULES}`);
    expect(problems).toEqual([{ path, reason: `${path}: left out, since there are more than ${MAX_MODULES} modules` }]);
  });

  test("when a directory has more files than anybody has modules", async () => {
    for (let index = 0; index <= 4 * MAX_MODULES; index += 1) fileAt(`file-${index}`, "");
    expect(await reasonsFound()).toEqual([`${directory}: more than ${4 * MAX_MODULES} files`]);
  });
});

describe("a module that others could change is not loaded", () => {
  test("since its file can be written by them", async () => {
    const path = scriptAt("script", "script", 0o777);
    expect(await reasonsFound()).toEqual([`${path}: anybody could change it; chmod o-w`]);
    chmodSync(path, 0o775);
    expect(await reasonsFound()).toEqual([expect.stringMatching(/: anybody in group \S+ could change it; chmod g-w$/)]);
    chmodSync(path, 0o755);
    expect(await namesFound()).toEqual(["script"]);
  });

  test("since a template can", async () => {
    const path = templateAt("site.yaml", "site");
    chmodSync(path, 0o666);
    expect(await reasonsFound()).toEqual([`${path}: anybody could change it; chmod o-w`]);
  });

  test("since its directory can, whoever owns the file, and that is told once", async () => {
    scriptAt("one");
    scriptAt("two");
    chmodSync(directory, 0o777);
    expect(await reasonsFound()).toEqual([`${directory}: anybody could change it; chmod o-w`]);
    chmodSync(directory, 0o1777);
    expect(await reasonsFound()).toEqual([`${directory}: anybody could change it; chmod o-w`]);
  });

  test("since a directory above can", async () => {
    scriptAt("upper/lower/script", "script");
    chmodSync(join(directory, "upper"), 0o777);
    const reason = `${join(directory, "upper")}: anybody could change it; chmod o-w`;
    expect(await reasonsFound([join(directory, "upper/lower")])).toEqual([reason]);
  });

  test("since a link leads through such a directory", async () => {
    scriptAt("open/script", "script");
    chmodSync(join(directory, "open"), 0o777);
    mkdirSync(join(directory, "modules"), { mode: 0o755 });
    symlinkSync(join(directory, "open", "script"), join(directory, "modules", "script"));
    const reason = `${join(directory, "open")}: anybody could change it; chmod o-w`;
    expect(await reasonsFound([join(directory, "modules")])).toEqual([reason]);
  });

  test("since a link of a link is in such a directory", async () => {
    scriptAt("safe/script", "script");
    mkdirSync(join(directory, "open"));
    chmodSync(join(directory, "open"), 0o777);
    symlinkSync("../safe/script", join(directory, "open", "between"));
    mkdirSync(join(directory, "modules"), { mode: 0o755 });
    symlinkSync("../open/between", join(directory, "modules", "script"));
    const reason = `${join(directory, "open")}: anybody could change it; chmod o-w`;
    expect(await reasonsFound([join(directory, "modules")])).toEqual([reason]);
  });
});
