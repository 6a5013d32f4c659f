/** A change that was left unconfirmed, sent again under its id to a real agent that had done it. */
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { Relay } from "../manager/exactly-once/relay.ts";
import { ManagerUnderTest } from "../support/managers.ts";
import { type Outcome, RealAgent, startVmmessage, temporaryDirectory, vmmessage } from "./programs.ts";

let agent: RealAgent;
/** Stands before the agent, and loses answers. */
let relay: Relay;

beforeEach(async () => {
  const directory = await temporaryDirectory();
  const socket = join(directory, "agent.sock");
  agent = new RealAgent(directory, socket);
  await agent.start();
  relay = await Relay.start(socket);
  onTestFinished(() => relay[Symbol.asyncDispose]());
});

interface Unconfirmed {
  code: string;
  message: string;
  messageId: string;
}

function errorIn({ stdout }: Outcome): Unconfirmed {
  const lines = stdout.trim().split("\n");
  return (JSON.parse(lines.at(-1) ?? "") as { error: Unconfirmed }).error;
}

const SET = ["-k", "job", "-V", "42"];

/** As the guest has it after it has changed it itself: what is done a second time would show. */
async function changeInGuest(): Promise<void> {
  expect((await agent.run("-g", "job")).stdout).toBe("42\n");
  expect(await agent.run("-p", "job=43")).toMatchObject({ code: 0 });
}

async function expectNotDoneAgain(): Promise<void> {
  expect((await agent.run("-g", "job")).stdout).toBe("43\n");
}

it("by the channel it has one effect, and is told as if its answer had not been lost", async () => {
  const lost = relay.holdAnswer("set");
  const args = ["--socket", relay.path, ...SET, "--json"];
  const outcome = await vmmessage([...args, "--timeout", "1"]);
  await lost;
  const { messageId, message } = errorIn(outcome);
  expect(outcome.code).toBe(11);
  expect(message).toMatch(new RegExp(`; the same command with --message-id ${messageId} has one effect$`));
  await changeInGuest();
  const again = await vmmessage([...args, "--message-id", messageId]);
  expect(again).toMatchObject({ code: 0, stderr: "" });
  expect(JSON.parse(again.stdout)).toMatchObject({ messageId, state: "delivered", revision: 1, replaced: [] });
  expect(relay.attempts(messageId)).toBe(2);
  await expectNotDoneAgain();
});

it("by the channel the word of a program in the guest is waited for again", async () => {
  const args = ["--socket", relay.path, ...SET, "--wait-ack", "--json"];
  const outcome = await vmmessage([...args, "--timeout", "1"]);
  const { messageId, message } = errorIn(outcome);
  expect(message).toContain("nothing there acknowledged it: the time is up; the same command with --message-id");
  expect(await agent.run("--ack", "job", "--result", "done")).toMatchObject({ code: 0 });
  const again = await vmmessage([...args, "--message-id", messageId]);
  expect(JSON.parse(again.stdout)).toMatchObject({ state: "acknowledged", acknowledged: { result: "done" } });
});

describe("by a manager that did not answer", () => {
  let manager: ManagerUnderTest;

  beforeEach(async () => {
    manager = await ManagerUnderTest.start([{ name: "web1", socket: relay.path }]);
    onTestFinished(() => manager[Symbol.asyncDispose]());
    await manager.untilLink("web1", "up");
  });

  /** The guest has done it, and the manager is stopped before it hears of that. */
  async function unconfirmed(args: readonly string[]): Promise<Unconfirmed> {
    const done = relay.holdAnswer("set");
    const sending = startVmmessage([...args, "--timeout", "2"], { env: { VMMESSAGE_MANAGER: manager.socketPath } });
    await done;
    manager.signal("SIGSTOP");
    const outcome = await sending.outcome();
    manager.signal("SIGCONT");
    expect(outcome.code).toBe(11);
    return errorIn(outcome);
  }

  const run = (...args: string[]) => vmmessage(args, { env: { VMMESSAGE_MANAGER: manager.socketPath } });

  it("it has one effect, and its receipt tells what became of it", async () => {
    const args = ["-v", "web1", ...SET, "--json"];
    const { messageId, message } = await unconfirmed(args);
    const receipt = `'vmmessage receipt ${messageId}' tells what became of it`;
    expect(message.endsWith(`; ${receipt}, and the same command with --message-id ${messageId} has one effect`)).toBe(
      true,
    );
    await changeInGuest();
    const again = await run(...args, "--message-id", messageId);
    expect(again).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(again.stdout)).toMatchObject({ messageId, state: "delivered", revision: 1 });
    expect((await run("receipt", messageId, "--quiet")).stdout).toMatch(/^(delivered|read)\n$/);
    await expectNotDoneAgain();
  });

  it("it has one effect at each of many VMs", async () => {
    const args = ["-v", "web*", ...SET, "--json"];
    const { messageId, message } = await unconfirmed(args);
    expect(message.endsWith(`; the same command with --message-id ${messageId} has one effect at each VM`)).toBe(true);
    await changeInGuest();
    const again = await run(...args, "--message-id", messageId);
    expect(again).toMatchObject({ code: 0, stderr: "" });
    expect(again.stdout).toContain(`{"summary":{"vms":1,"done":1,"queued":0,"failed":0,"messageId":"${messageId}"}}`);
    await expectNotDoneAgain();
  });

  it("another change under its id is refused", async () => {
    const { messageId } = await unconfirmed(["-v", "web1", ...SET, "--json"]);
    const other = await run("-v", "web1", "-k", "job", "-V", "other", "--message-id", messageId);
    expect(other).toMatchObject({ code: 5 });
    expect(other.stderr).toContain(`messageId ${messageId} was used before, for another change`);
  });
});
