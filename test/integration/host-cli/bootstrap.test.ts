/** `vmmessage bootstrap` straight to a guest's channel, with the real agent and a program that plays the guest's bootstrap. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:fs";
import { chmod, copyFile, open as openFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { version } from "../../../shared/version.ts";
import { chardev } from "./chardev.ts";
import { GuestBootstrap } from "./guest-bootstrap.ts";
import { type Outcome, RealAgent, type Running, startVmmessage, temporaryDirectory, until, vmmessage } from "./programs.ts"; // prettier-ignore

let directory: string;
let agent: RealAgent;
let guest: GuestBootstrap;

beforeEach(async () => {
  directory = await temporaryDirectory();
  const agentSocket = join(directory, "agent-port.sock");
  agent = new RealAgent(directory, agentSocket);
  await agent.start();
  guest = new GuestBootstrap((...args) => agent.run(...args));
  await chardev(join(directory, "web1.sock"), agentSocket);
});

const words = (...args: string[]): string[] => ["bootstrap", "-v", "web1", "--socket-dir", directory, ...args];

/** `vmmessage bootstrap -v web1 ...`, under way. */
function start(...args: string[]): Running {
  return startVmmessage(words(...args));
}

function run(args: string[], stdin = ""): Promise<Outcome> {
  return vmmessage(words(...args), { stdin });
}

async function file(name: string, text: string, mode = 0o600): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, text);
  await chmod(path, mode);
  return path;
}

const opening = `vmmessage ${version}.\nConnected.\nVM : 'web1' has status :  Running.\nSending message.\nMessage sent successfully.\n`; // prettier-ignore

const HOSTNAME = { name: "hostname", state: "ok", durationMs: 200 } as const;
const USERS = { name: "users", state: "skipped", durationMs: 0, reason: "no value is set" } as const;
const SITE = { name: "web-site", state: "ok", durationMs: 3_700 } as const;
const BROKEN = { ...SITE, state: "error", reason: "check 'nginx -t' failed: exit code 1" } as const;

const UNITS =
  "is vmmessage-bootstrap (for the first boot) or vmmessage-reconfigure (for later ones) enabled in the guest?";

describe("a set of keys", () => {
  it("is in the guest at once, with its commit; secrets are secrets", async () => {
    await file("db-password", "s3cret\n");
    const values = await file(
      "web1.yaml",
      `keys:
  com.example.web.port: 0081
  com.example.web.sites: [a, {b: 1}]
secrets:
  com.example.db.password: { file: db-password }
`,
    );
    const sent = await run(["--file", values, "--set", "com.example.x=1", "--commit", "c 1", "--no-wait"]);
    expect(sent).toEqual(expect.objectContaining({ code: 0, stdout: `${opening}Commit: c 1\n`, stderr: "" }));
    expect((await agent.run("-l")).stdout.trim().split("\n").sort()).toEqual([
      '{"com.example.db.password":null}',
      '{"com.example.web.port":"0081"}',
      '{"com.example.web.sites":"[\\"a\\",{\\"b\\":1}]"}',
      '{"com.example.x":"1"}',
      '{"org.vmmessage.commit":"c 1"}',
    ]);
    expect(await agent.run("-g", "com.example.db.password")).toMatchObject({ stdout: "s3cret\n" });
  });

  it("has a commit of its own each time, which --no-wait prints", async () => {
    const first = await run(["--set", "a=1", "--no-wait", "--quiet"]);
    expect(first).toMatchObject({ code: 0, stdout: expect.stringMatching(/^[0-9a-f]{16}\n$/) as string, stderr: "" });
    expect(await agent.run("-g", "org.vmmessage.commit")).toMatchObject({ stdout: first.stdout });
    const { stdout } = await run(["--set", "a=1", "--no-wait", "--json"]);
    const answer = JSON.parse(stdout) as { commit: string };
    expect(answer).toMatchObject({ vm: "web1", state: "delivered", revision: 2 });
    expect(`${answer.commit}\n`).not.toBe(first.stdout);
  });

  it("comes from the standard input too", async () => {
    expect(await run(["--file", "-", "--no-wait"], "keys: {a: 1.10}\n")).toMatchObject({ code: 0 });
    expect(await agent.run("-g", "a")).toMatchObject({ stdout: "1.10\n" });
  });

  it("that is refused changes nothing, and is not followed", async () => {
    const values = await file("web1.yaml", `keys: {a: "${"x".repeat(9_000)}"}\n`);
    expect(await run(["--file", values])).toMatchObject({ code: 4 });
    expect((await agent.run("-l")).stdout).toBe("");
  });

  it("leaves room for the guest's report, or is refused before anything is changed", async () => {
    const value = `a=${"x".repeat(7_800)}`;
    const { code, stderr } = await run(["--set", value]);
    expect({ code, stderr }).toEqual({ code: 4, stderr: expect.stringContaining("limit") as string });
    expect((await agent.run("-l")).stdout).toBe("");
    expect(await run(["--set", value, "--no-wait"])).toMatchObject({ code: 0 });
  });

  it("in a pipe that nobody writes to is waited for until a signal", async () => {
    const pipe = join(directory, "pipe");
    await once(spawn("mkfifo", [pipe]), "close");
    for (const [signal, code] of [
      ["SIGINT", 130],
      ["SIGTERM", 143],
    ] as const)
      // prettier-ignore
      for (const args of [["--file", pipe], ["--secret-file", `p=${pipe}`]]) {
        const waiting = start(...args);
        // The pipe has a reader now.
        const writer = await vi.waitFor(() => openFile(pipe, constants.O_WRONLY | constants.O_NONBLOCK), { timeout: 20_000 }); // prettier-ignore
        await waiting.kill(signal);
        expect(await waiting.outcome()).toMatchObject({ code });
        await writer.close();
      }
  });

  it("takes yaml.js beside vmmessage.js, which is said when it is missing", async () => {
    const alone = join(directory, "vmmessage.js");
    await copyFile("dist/vmmessage.js", alone);
    const program = spawn(process.execPath, [alone, ...words("--set", "a=1")]);
    let stderr = "";
    program.stderr.on("data", (piece: Buffer) => (stderr += piece.toString()));
    expect(await once(program, "close")).toEqual([2, null]);
    expect(stderr).toBe("vmmessage: yaml.js is not there; it has to lie beside vmmessage.js\n");
  });

  it.each([
    ["a: [", 3, "web1.yaml:2:1: "],
    ["keys: {a: 2026-01-15}", 3, "web1.yaml:1:11: 'a' is a date to YAML; quote it to send it as it is"],
    ["secrets: {a: {file: nowhere}}", 2, "cannot read the secret 'a' from "],
  ])("in a file with %j is not sent", async (text, code, message) => {
    const values = await file("web1.yaml", `${text}\n`);
    const refused = await run(["--file", values]);
    expect(refused).toMatchObject({ code, stdout: "" });
    expect(refused.stderr).toContain(message);
    expect((await agent.run("-l")).stdout).toBe("");
  });
});

describe("a run that is followed", () => {
  it("is told module by module on stderr, and its end on stdout", async () => {
    const following = start("--set", "a=1");
    const commit = await guest.commit();
    await guest.report({ commit, state: "running", modules: [{ name: "hostname", state: "running" }] });
    await guest.report({ commit, state: "running", modules: [HOSTNAME, { name: "users", state: "pending" }] });
    await until(() => following.stderr === "vmmessage: hostname  ok  0.2 s\n");
    await guest.report({ commit, state: "ok", durationMs: 4_100, modules: [HOSTNAME, USERS, SITE] });
    expect(await following.outcome()).toMatchObject({
      code: 0,
      stdout: `${opening}Bootstrap of 'web1' succeeded: 3 modules in 4.1 s.\n`,
      stderr: `vmmessage: hostname  ok  0.2 s
vmmessage: users  skipped  0.0 s  no value is set
vmmessage: web-site  ok  3.7 s
`,
    });
    expect(await vmmessage(["ping", "-v", "web1", "--socket-dir", directory])).toMatchObject({ code: 0 });
  });

  it("fails with the module that failed, and the others' fates", async () => {
    const following = start("--set", "a=1");
    const commit = await guest.commit();
    await guest.report({ commit, state: "error", durationMs: 4_100, modules: [HOSTNAME, BROKEN] });
    expect(await following.outcome()).toMatchObject({
      code: 2,
      stdout: `${opening}Bootstrap of 'web1' failed: web-site: check 'nginx -t' failed: exit code 1\n`,
      stderr: `vmmessage: hostname  ok  0.2 s
vmmessage: web-site  error  3.7 s  check 'nginx -t' failed: exit code 1
vmmessage: 1 of 2 modules failed
`,
    });
  });

  it("fails as a whole with its reason, and with what failed modules printed", async () => {
    const whole = start("--set", "a=1");
    const commit = await guest.commit();
    await guest.report({ commit, state: "error", modules: [HOSTNAME], reason: "the disk is full" });
    expect(await whole.outcome()).toMatchObject({
      code: 2,
      stdout: `${opening}Bootstrap of 'web1' failed: the disk is full\n`,
      stderr: "vmmessage: hostname  ok  0.2 s\nvmmessage: the disk is full\n",
    });
    const printed = start("--set", "a=1", "--commit", "second");
    await guest.commit("second");
    const lines = ["nginx: [emerg] \u001b[2J", "nginx: test failed"];
    await guest.report({ commit: "second", state: "ok", modules: [{ ...BROKEN, lines }] });
    expect(await printed.outcome()).toMatchObject({
      code: 2,
      stderr: `vmmessage: web-site  error  3.7 s  check 'nginx -t' failed: exit code 1
vmmessage:   nginx: [emerg] \\u001b[2J
vmmessage:   nginx: test failed
vmmessage: 1 of 1 modules failed
`,
    });
  });

  it("is not confirmed when a later commit is what the guest configures itself by", async () => {
    const following = start("--set", "a=1", "--commit", "one");
    await guest.commit("one");
    await until(() => following.stdout.endsWith("Message sent successfully.\n"));
    await guest.report({ commit: "two", messageId: "f".repeat(32), state: "running", modules: [] });
    expect(await following.outcome()).toMatchObject({
      code: 11,
      stderr: "vmmessage: the bootstrap of 'web1' is not confirmed: superseded by the commit 'two'\n",
    });
  });

  it("is one object for programs, whether it succeeds or not", async () => {
    const succeeding = start("--set", "a=1", "--json");
    const sent = { commit: await guest.commit(), durationMs: 4_100 };
    await guest.report({ ...sent, state: "ok", modules: [HOSTNAME] });
    const success = await succeeding.outcome();
    expect(success).toMatchObject({ code: 0, stderr: "" });
    const told = { vm: "web1", messageId: expect.stringMatching(/^[0-9a-f]{32}$/) as string, ...sent };
    expect(JSON.parse(success.stdout)).toMatchObject({
      ...told,
      state: "ok",
      target: "configure",
      modules: [HOSTNAME],
    });

    const failing = start("--set", "a=2", "--json", "--commit", "second");
    await guest.commit("second");
    await guest.report({ ...sent, commit: "second", state: "error", modules: [BROKEN] });
    const failure = await failing.outcome();
    expect(failure).toMatchObject({ code: 2, stderr: "" });
    expect(JSON.parse(failure.stdout)).toMatchObject({
      error: {
        ...told,
        commit: "second",
        code: "failed",
        message: "Bootstrap of 'web1' failed: web-site: check 'nginx -t' failed: exit code 1",
        state: "error",
        modules: [BROKEN],
      },
    });
  });

  it("is told in errors only with --quiet", async () => {
    const succeeding = start("--set", "a=1", "--quiet");
    await guest.report({ commit: await guest.commit(), state: "ok", modules: [HOSTNAME] });
    expect(await succeeding.outcome()).toMatchObject({ code: 0, stdout: "", stderr: "" });
    const failing = start("--set", "a=1", "--quiet", "--commit", "second");
    await guest.report({ commit: await guest.commit("second"), state: "error", modules: [BROKEN] });
    const stderr = "vmmessage: Bootstrap of 'web1' failed: web-site: check 'nginx -t' failed: exit code 1\n";
    expect(await failing.outcome()).toMatchObject({ code: 2, stdout: "", stderr });
  });

  it("is that of this commit and no earlier one, also when both have one text", async () => {
    const modules = [HOSTNAME];
    await guest.report({ commit: "again", messageId: "e".repeat(32), state: "error", modules: [BROKEN] });
    const following = start("--set", "a=1", "--commit", "again");
    await guest.commit("again");
    const before = { messageId: "e".repeat(32), startedAt: "2026-01-15T12:00:00Z" };
    await guest.report({ ...before, commit: "again", state: "ok", modules });
    await guest.report({ commit: null, messageId: null, state: "waiting", modules: [] });
    await guest.report({ commit: "again", state: "ok", modules, durationMs: 1_000 });
    expect(await following.outcome()).toMatchObject({
      code: 0,
      stdout: `${opening}Bootstrap of 'web1' succeeded: 1 module in 1.0 s.\n`,
      stderr: "vmmessage: hostname  ok  0.2 s\n",
    });
  });

  it("goes on over a reboot of the guest, with the run that begins after it", async () => {
    const following = start("--set", "a=1");
    const commit = await guest.commit();
    await guest.report({ commit, state: "running", modules: [HOSTNAME, { name: "web-site", state: "running" }] });
    await until(() => following.stderr !== "");
    await agent.kill();
    await agent.start();
    guest.beginRun();
    await guest.report({ commit, state: "ok", durationMs: 5_000, modules: [HOSTNAME, SITE] });
    expect(await following.outcome()).toMatchObject({
      code: 0,
      stderr: "vmmessage: hostname  ok  0.2 s\nvmmessage: hostname  ok  0.2 s\nvmmessage: web-site  ok  3.7 s\n",
    });
  });

  it("is followed past what is no report, and prints nothing that a terminal would obey", async () => {
    const following = start("--set", "a=1");
    const commit = await guest.commit();
    await guest.show("\u001b[2J{");
    await guest.show(JSON.stringify({ commit, state: "ok" }));
    await guest.report({ commit, state: "error", modules: [{ ...BROKEN, reason: "\u001b[2Jgone" }] });
    const { stdout, stderr } = await following.outcome();
    expect(stderr).toContain(
      "vmmessage: the key 'org.vmmessage.bootstrap' is set to what is no report of a run; it is passed over\nvmmessage: web-site",
    );
    expect(stdout).toContain("failed: web-site: \\u001b[2Jgone\n");
    expect(`${stdout}${stderr}`).not.toContain("\u001b");
  });
});

describe("when the time is up", () => {
  it.each([
    ["no run began", [], `it got the message, but no run by this commit began; ${UNITS}`],
    ["a module runs", [{ name: "web-site", state: "running" as const }], "its module web-site has been running for "],
  ])("and %s, it is not confirmed, and how far it came is said", async (_, modules, progress) => {
    const following = start("--set", "a=1", "--timeout", "4", "--commit", "c1");
    await guest.commit("c1");
    if (modules.length > 0) await guest.report({ commit: "c1", state: "running", modules });
    const { code, stderr } = await following.outcome();
    expect(code).toBe(11);
    expect(stderr).toContain(`vmmessage: the bootstrap of 'web1' is not confirmed: the time is up; ${progress}`);
  });

  it("programs are told of what, too", async () => {
    const { code, stdout } = await run(["--set", "a=1", "--timeout", "2", "--commit", "c1", "--json"]);
    expect(code).toBe(11);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: "unconfirmed", vm: "web1", commit: "c1" } });
  });
});

it("Ctrl-C ends it, and the channel is free", async () => {
  const following = start("--set", "a=1");
  await guest.commit();
  await until(() => following.stdout.endsWith("Message sent successfully.\n"));
  await following.kill("SIGINT");
  expect(await following.outcome()).toMatchObject({
    code: 130,
    stderr: "vmmessage: interrupted; 'web1' goes on by itself: see vmmessage -v web1 -q org.vmmessage.bootstrap\n",
  });
  expect(await vmmessage(["ping", "-v", "web1", "--socket-dir", directory])).toMatchObject({ code: 0 });
});

describe("secrets that are asked for", () => {
  it("are lines of the standard input where there is no terminal", async () => {
    const values = await file("web1.yaml", "secrets: {a.token: {prompt: API token}}\n");
    expect(await run(["--file", values, "--secret", "a.password", "--no-wait"], "t0ken\np4ss\n")).toMatchObject({
      code: 0,
      stderr: "",
    });
    expect(await agent.run("-g", "a.token")).toMatchObject({ stdout: "t0ken\n" });
    expect(await agent.run("-g", "a.password")).toMatchObject({ stdout: "p4ss\n" });
  });

  it("are typed on a terminal and not shown", async () => {
    const values = await file("web1.yaml", "secrets: {a.token: {prompt: API token}}\n");
    const shown = await onTerminal(words("--file", values, "--secret", "a.password", "--no-wait", "--quiet"), {
      "API token: ": "t0ken\r",
      "a.password: ": "p4ss\r",
    });
    expect(shown.replaceAll("\r", "")).toMatch(/^API token: \na\.password: \n[0-9a-f]{16}\n$/);
    expect(await agent.run("-g", "a.token")).toMatchObject({ stdout: "t0ken\n" });
    expect(await agent.run("-g", "a.password")).toMatchObject({ stdout: "p4ss\n" });
  });

  it("and Ctrl-C at the question sends nothing", async () => {
    await onTerminal(words("--secret", "a.password"), { "a.password: ": "\u0003" });
    expect((await agent.run("-l")).stdout).toBe("");
  });

  it("whose file others may read are noted", async () => {
    const path = await file("token", "t0ken\n", 0o644);
    const stderr = `vmmessage: others may read ${path}, and with it the secret 'a.token'\n`;
    expect(await run(["--secret-file", `a.token=${path}`, "--no-wait"])).toMatchObject({ code: 0, stderr });
  });
});

it("on a terminal a line for each module changes as it fares", async () => {
  const terminal = onTerminal(words("--set", "a=1"), {});
  const commit = await guest.commit();
  await guest.report({ commit, state: "running", modules: [HOSTNAME, { name: "web-site", state: "pending" }] });
  await guest.report({ commit, state: "running", modules: [HOSTNAME, { name: "web-site", state: "running" }] });
  await guest.show("{");
  await guest.report({ commit, state: "ok", durationMs: 4_100, modules: [HOSTNAME, SITE] });
  const shown = await terminal;
  // The first lines were drawn more than once, each time in their place.
  expect(shown).toContain("\u001b[1A");
  const screen = lastLines(shown);
  expect(screen.slice(-4)).toEqual([
    "hostname  ok       0.2 s",
    "web-site  ok       3.7 s",
    "Bootstrap of 'web1' succeeded: 2 modules in 4.1 s.",
    "",
  ]);
  expect(screen).toContain(
    "vmmessage: the key 'org.vmmessage.bootstrap' is set to what is no report of a run; it is passed over",
  );
  // The cursor that was hidden is there again, and lines wrap.
  expect(shown.lastIndexOf("\u001b[?25h")).toBeGreaterThan(shown.lastIndexOf("\u001b[?25l"));
  expect(shown.lastIndexOf("\u001b[?7h")).toBeGreaterThan(shown.lastIndexOf("\u001b[?7l"));
});

/** Runs it where script(1) gives it a terminal, and types what is asked for. Settles with all that was shown. */
async function onTerminal(args: string[], answers: Record<string, string>): Promise<string> {
  const command = `stty rows 24 cols 100; ${[process.execPath, "dist/vmmessage.js", ...args].join(" ")}`;
  const terminal = spawn("script", ["-qec", command, "/dev/null"], { env: { ...process.env, TERM: "xterm" } });
  onTestFinished(() => void terminal.kill("SIGKILL"));
  let shown = "";
  terminal.stdout.on("data", (piece: Buffer) => {
    shown += piece.toString();
    for (const [question, answer] of Object.entries(answers))
      if (shown.endsWith(question)) terminal.stdin.write(answer);
  });
  await once(terminal, "close");
  return shown;
}

/** What is left on the screen, by the few words that cli-progress says to a terminal. */
function lastLines(shown: string): string[] {
  const lines = [""];
  let row = 0;
  let column = 0;
  for (const [, up, cursor, erase, below, newline, text = ""] of shown.matchAll(
    /\u001b\[(\d+)A|\u001b\[(\d+)G|\u001b\[([012])K|\u001b\[(J)|(\n)|\u001b\[\?\d+[hl]|\r|([^\u001b\r\n]+)/g,
  )) {
    if (up !== undefined) row -= Number(up);
    else if (cursor !== undefined) column = Math.max(0, Number(cursor) - 1);
    else if (newline !== undefined) [row, column] = [row + 1, 0];
    const line = (lines[row] ??= "");
    if (below !== undefined) lines.splice(row, lines.length, line.slice(0, column));
    else if (erase === "0") lines[row] = line.slice(0, column);
    else if (erase === "2") lines[row] = "";
    else if (text !== "") {
      lines[row] = line.slice(0, column).padEnd(column) + text + line.slice(column + text.length);
      column += text.length;
    }
  }
  return lines;
}
