import { spawn, spawnSync } from "node:child_process";
import { symlink } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeEach, expect, it, onTestFinished } from "vitest";
import { temporaryDirectory, until, vmmessage } from "./programs.ts";

const LISTENER = fileURLToPath(new URL("one-client-listener.ts", import.meta.url));

const hasSs = spawnSync("ss", ["-V"]).status === 0;
const HOLDER = hasSs ? new RegExp(`held by .+ \\(pid ${process.pid}\\)`) : /held by another client/;

let directory: string;
let socket: string;
let printed = "";

beforeEach(async () => {
  directory = await temporaryDirectory();
  socket = join(directory, "web1.sock");
});

async function listen(backlog: number): Promise<void> {
  const listener = spawn(process.execPath, [LISTENER, socket, String(backlog)]);
  onTestFinished(() => void listener.kill("SIGKILL"));
  printed = "";
  listener.stdout.on("data", (piece: Buffer) => (printed += piece.toString()));
  await until(() => printed.includes("listening"));
}

async function hold(): Promise<void> {
  comeToo();
  await until(() => printed.includes("accepted"));
}

function comeToo(): void {
  const client = connect(socket).on("error", () => undefined);
  onTestFinished(() => {
    client.destroy();
  });
}

it("a channel that another client has is held, and the message names who has it", async () => {
  await listen(5);
  await hold();
  const outcome = await vmmessage(["--socket", socket, "-q", "a", "--timeout", "1"]);
  expect(outcome).toMatchObject({ code: 12 });
  expect(outcome.stderr).toMatch(HOLDER);
});

it("the JSON has the holder's process apart", async () => {
  await listen(5);
  await hold();
  const { stdout } = await vmmessage(["--socket", socket, "-q", "a", "--timeout", "1", "--json"]);
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: "held", ...(hasSs && { pid: process.pid }) } });
});

it("by whatever name the socket is reached", async () => {
  await listen(5);
  await hold();
  await symlink(directory, join(directory, "link"));
  const outcome = await vmmessage(["--socket", join(directory, "link", "web1.sock"), "-q", "a", "--timeout", "1"]);
  expect(outcome).toMatchObject({ code: 12 });
});

it("a backlog that is full is held too", async () => {
  await listen(1);
  await hold();
  comeToo();
  comeToo();
  const outcome = await vmmessage(["--socket", socket, "-q", "a", "--timeout", "1"]);
  expect(outcome).toMatchObject({ code: 12 });
});

it("the one who is served and gets no answer is not held up by others who wait", async () => {
  if (!hasSs) return;
  await listen(5);
  const served = vmmessage(["--socket", socket, "-q", "a", "--timeout", "2"]);
  await until(() => printed.includes("accepted"));
  comeToo();
  expect(await served).toMatchObject({ code: 10 });
});
