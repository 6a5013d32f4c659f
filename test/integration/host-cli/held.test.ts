import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { symlink } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { beforeEach, expect, it, onTestFinished } from "vitest";
import { listenForOne, temporaryDirectory, vmmessage } from "./programs.ts";

const hasSs = spawnSync("ss", ["-V"]).status === 0;
const HOLDER = hasSs ? new RegExp(`held by .+ \\(pid ${process.pid}\\)`) : /held by another client/;

let directory: string;
let socket: string;

beforeEach(async () => {
  directory = await temporaryDirectory();
  socket = join(directory, "web1.sock");
});

/** Listens, with a client that is served. */
async function listenAndHold(backlog?: number): Promise<void> {
  const listener = await listenForOne(socket, backlog);
  comeToo();
  await once(listener.stdout, "data");
}

function comeToo(): void {
  const client = connect(socket).on("error", () => undefined);
  onTestFinished(() => {
    client.destroy();
  });
}

it("a channel that another client has is held, and the message names who has it", async () => {
  await listenAndHold();
  const outcome = await vmmessage(["--socket", socket, "-q", "a", "--timeout", "1"]);
  expect(outcome).toMatchObject({ code: 12 });
  expect(outcome.stderr).toMatch(HOLDER);
});

it("the JSON has the holder's process apart", async () => {
  await listenAndHold();
  const { stdout } = await vmmessage(["--socket", socket, "-q", "a", "--timeout", "1", "--json"]);
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: "held", ...(hasSs && { pid: process.pid }) } });
});

it("by whatever name the socket is reached", async () => {
  await listenAndHold();
  await symlink(directory, join(directory, "link"));
  const outcome = await vmmessage(["--socket", join(directory, "link", "web1.sock"), "-q", "a", "--timeout", "1"]);
  expect(outcome).toMatchObject({ code: 12 });
});

it("a backlog that is full is held too", async () => {
  await listenAndHold(1);
  comeToo();
  comeToo();
  const outcome = await vmmessage(["--socket", socket, "-q", "a", "--timeout", "1"]);
  expect(outcome).toMatchObject({ code: 12 });
});

it.runIf(hasSs)("the one who is served and gets no answer is not told that others, who wait, hold it", async () => {
  const listener = await listenForOne(socket);
  const served = vmmessage(["--socket", socket, "-q", "a", "--timeout", "2"]);
  await once(listener.stdout, "data");
  comeToo();
  expect(await served).toMatchObject({ code: 10 });
});
