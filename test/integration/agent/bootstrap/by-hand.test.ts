import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { BootstrapLab } from "./lab.ts";

const port = { key: "com.example.port", description: "The port", required: true };
const app = {
  header: { configure: 50, cleanup: 20, migrate: 10 },
  parameters: [port],
  script: 'cat > "$WORK/values"; echo "$1" >> "$WORK/runs"',
};
const values = async (lab: BootstrapLab) => JSON.parse((await lab.left("values")) ?? "{}") as object;

describe("agent config TARGET", () => {
  test("runs the target's modules with the keys as they are, and so does -s", async () => {
    await using lab = await BootstrapLab.open({ app });
    await lab.agent.run("-p", "com.example.port=1");
    const { exitCode, stdout } = await lab.run("config", "migrate");
    expect(exitCode).toBe(0);
    expect(stdout.toString()).toMatch(/^app {2}ok {2}[\d.]+ s\n$/);
    expect((await lab.run("-s", "migrate")).exitCode).toBe(0);
    expect(await lab.left("runs")).toBe("migrate\nmigrate\n");
  });

  test("takes values from a pipe as `agent -l` prints them, from a file, and from nowhere else", async () => {
    await using lab = await BootstrapLab.open({ app });
    await lab.agent.run("-p", "com.example.port=1", "-p", "com.example.more=x");
    const list = (await lab.agent.run("-l")).stdout.toString();
    await lab.runWithInput(list, "config", "configure", "--module", "app", "--stdin");
    expect(await values(lab)).toEqual({ "com.example.port": "1", "com.example.more": "x" });
    const file = join(lab.agent.directory, "values.yaml");
    await writeFile(file, "com.example.port: 8081\n");
    await lab.run("config", "configure", "--module", "app", "--file", file);
    expect(await values(lab)).toEqual({ "com.example.port": "8081" });
    const bad = await lab.runWithInput("port", "config", "configure", "--stdin");
    expect(bad.exitCode).toBe(3);
    expect(bad.stderr).toContain("the standard input");
  });

  test("of some modules leaves on record what is there, and says which there are", async () => {
    await using lab = await BootstrapLab.open({ app });
    await lab.commit({ "com.example.port": "1" });
    await lab.run("config", "configure", "--module", "app");
    expect((await lab.run("config", "status")).stdout.toString()).toContain("This machine is not configured.");
    const { exitCode, stderr } = await lab.run("config", "configure", "--module", "apps");
    expect(exitCode).toBe(3);
    expect(stderr).toContain("no module 'apps' takes part in configure; those that do: hostname, users, app");
  });

  test("configure is a first configuration, and cleanup has the next boot configure anew", async () => {
    await using lab = await BootstrapLab.open({ app });
    await lab.commit({ "com.example.port": "1" });
    expect((await lab.run("config", "configure")).exitCode).toBe(0);
    expect((await lab.run("bootstrap", "--wait", "20")).stderr).toContain("configured already");
    const messages = (await lab.messages()).length;
    expect((await lab.run("-s", "cleanup")).exitCode).toBe(0);
    expect(await lab.messages()).toHaveLength(0);
    expect(messages).toBeGreaterThan(0);
    await lab.run("bootstrap", "--wait", "20");
    expect(await lab.left("runs")).toBe("configure\ncleanup\nconfigure\n");
  });

  test("cleanup is not undone by who watches for commits", async () => {
    await using lab = await BootstrapLab.open({ app: { ...app, header: { ...app.header, reconfigure: 50 } } });
    await lab.commit({ "com.example.port": "1" });
    await lab.run("config", "configure");
    lab.start("bootstrap", "--watch");
    await lab.commit({ "com.example.port": "2" }, {}, "c2");
    await lab.report(({ state, commit }) => state === "ok" && commit === "c2");
    await lab.run("config", "cleanup");
    await lab.agent.run("-p", "guest.own=1");
    await lab.commit({ "com.example.port": "3" }, {}, "c3");
    await lab.report(({ state, commit }) => state === "ok" && commit === "c3");
    expect(await lab.left("runs")).toBe("configure\nreconfigure\ncleanup\nconfigure\n");
  });

  test("fails when a module does, with its last lines", async () => {
    await using lab = await BootstrapLab.open({ app: { ...app, script: "echo one; echo two >&2; exit 4" } });
    await lab.agent.run("-p", "com.example.port=1");
    const { exitCode, stdout, stderr } = await lab.run("config", "migrate", "--json");
    expect(exitCode).toBe(2);
    expect(stderr).toBe("");
    const [report = "", error = ""] = stdout.toString().trim().split("\n");
    expect(JSON.parse(report)).toMatchObject({
      state: "error",
      modules: [{ name: "app", outcome: "error", lines: ["two"] }],
    });
    expect(JSON.parse(error)).toMatchObject({ error: { code: "failed" } });
  });

  test("--dry-run shows what would change, and changes nothing", async () => {
    await using lab = await BootstrapLab.open({ app });
    await lab.agent.run("-p", "com.example.port=1");
    const { exitCode, stdout } = await lab.run("config", "configure", "--dry-run");
    expect(exitCode).toBe(0);
    expect(stdout.toString()).toContain("# app\nwould run ");
    expect(await lab.left("runs")).toBeUndefined();
  });
});

describe("agent config enable and disable", () => {
  test("take a module out of a target and put it back, and list shows it", async () => {
    await using lab = await BootstrapLab.open({ app });
    await lab.agent.run("-p", "com.example.port=1");
    await lab.run("config", "disable", "app", "migrate");
    expect((await lab.run("config", "list")).stdout.toString()).toContain("migrate 10 (disabled)");
    await lab.run("config", "migrate");
    expect(await lab.left("runs")).toBeUndefined();
    await lab.run("config", "enable", "app", "migrate");
    await lab.run("config", "migrate");
    expect(await lab.left("runs")).toBe("migrate\n");
  });

  test.each([
    { args: ["nothing", "configure"], says: "there is no module 'nothing'" },
    { args: ["app", "suspend"], says: "the module 'app' takes no part in suspend" },
    { args: ["app", "explode"], says: "the targets are configure, unconfigure" },
  ])("refuse $args", async ({ args, says }) => {
    await using lab = await BootstrapLab.open({ app });
    const { exitCode, stderr } = await lab.run("config", "disable", ...args);
    expect(exitCode).toBe(3);
    expect(stderr).toContain(says);
  });
});

test("agent config enumerate lists every parameter of every module", async () => {
  await using lab = await BootstrapLab.open({ app });
  const { stdout } = await lab.run("config", "enumerate", "configure", "--module", "app");
  expect(JSON.parse(stdout.toString())).toEqual([
    { module: "app", ...port, hidden: false, password: false, aliases: [] },
  ]);
  const table = (await lab.run("config", "enumerate", "--human-readable")).stdout.toString();
  expect(table).toContain("com.example.port");
  expect(table).toContain("required");
});

test("a module that others may write to is left out, and that is said", async () => {
  await using lab = await BootstrapLab.open({ app });
  execFileSync("chmod", ["o+w", join(lab.moduleDirectory, "app")]);
  const { stderr } = await lab.run("config", "migrate");
  expect(stderr).toContain("app");
  expect(await lab.left("runs")).toBeUndefined();
});

test("a full disk is told to the host, and nothing is done that could not be recorded", async () => {
  await using lab = await BootstrapLab.open({ app });
  await lab.commit({ "com.example.port": "1" });
  await lab.agent.kill("SIGTERM");
  const state = lab.agent.stateDirectory;
  const saved = join(lab.agent.directory, "saved");
  execFileSync("cp", ["-a", state, saved]);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", state]);
  try {
    execFileSync("cp", ["-a", `${saved}/.`, state]);
    await lab.agent.start();
    await mkdir(join(state, "bootstrap"), { recursive: true });
    execFileSync("sh", ["-c", `cat /dev/zero > '${state}/fill' 2>/dev/null || true`]);
    const { exitCode, stderr } = await lab.run("bootstrap", "--wait", "20");
    expect(exitCode).toBe(2);
    expect(stderr).toContain("nothing was done: ENOSPC");
    expect(await lab.left("runs")).toBeUndefined();
    expect(await lab.messages()).toMatchObject([{ name: "bootstrap.ended", data: { outcome: "error", commit: "c1" } }]);
    execFileSync("rm", [join(state, "fill")]);
    expect((await lab.run("bootstrap", "--wait", "20")).exitCode).toBe(0);
  } finally {
    await lab.agent.kill("SIGTERM");
    execFileSync("umount", [state]);
  }
});
