import { describe, expect, it } from "vitest";
import type { NewMessage } from "../../../../shared/api/schemas.ts";
import { CommandError } from "../../../../shared/cli/failure.ts";
import { exitCodes } from "../../../../shared/protocol/errors.ts";
import { MAX_VALUE } from "../../../../shared/protocol/limits.ts";
import type { Principal } from "../../../../manager/access/principal.ts";
import { Interpreter } from "../../../../manager/console/interpreter.ts";
import { formatLocalTime } from "../../../../manager/console/local-time.ts";
import type { Service } from "../../../../manager/service/service.ts";
import { admin, memoryLog, noSuchVm, ol6, receipt, received, scriptedService, VM_ID } from "./scripted-service.ts";

const TIME = /^Time: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \S+$/;
const SENT_AT = `"${formatLocalTime(new Date("2012-12-27T17:04:29.890Z"))}"`;

async function answerTo(line: string, script: Partial<Service> = {}, log = memoryLog()) {
  const interpreter = new Interpreter({ service: scriptedService(script), who: admin, log });
  const reply = await interpreter.reply(line, new AbortController().signal);
  if (reply.type !== "answer") throw new Error(`'${line}' is answered with ${reply.type}`);
  return reply.answer;
}

async function dataOf(line: string, script: Partial<Service>): Promise<string[]> {
  const { lines } = await answerTo(line, script);
  expect(lines[1]).toBe("Status: Success");
  const at = lines.indexOf("Data:");
  return at === -1 ? [] : lines.slice(at + 1);
}

async function errorOf(line: string, script: Partial<Service> = {}) {
  const { lines, exitCode } = await answerTo(line, script);
  expect(lines).toHaveLength(4);
  expect(lines[1]).toBe("Status: Failure");
  return { message: lines[3]?.replace(/^Error Msg: /, ""), exitCode };
}

describe("an answer", () => {
  it("has the line as it was typed, the status and the time, and no more when there is nothing to say", async () => {
    const line = "sendVmMessage  Vm name=ol6u3apitest key=foo message='bar' log=no";
    const { lines, exitCode } = await answerTo(line, { send: () => Promise.resolve(receipt()) });
    expect(lines).toEqual([`Command: ${line}`, "Status: Success", expect.stringMatching(TIME)]);
    expect(exitCode).toBe(0);
  });

  it("to a refusal has the reason and its exit code", async () => {
    const { lines, exitCode } = await answerTo("show Vm name=gone", {
      showVm: (_, vm) => {
        throw noSuchVm(vm);
      },
    });
    expect(lines).toEqual([
      "Command: show Vm name=gone",
      "Status: Failure",
      expect.stringMatching(TIME),
      "Error Msg: there is no VM 'gone'",
    ]);
    expect(exitCode).toBe(exitCodes.failed);
  });

  it("makes what a guest or a user wrote harmless to terminals", async () => {
    const [line] = await dataOf("getVmReceivedMessages Vm name=a", {
      listReceived: () => Promise.resolve([received({ value: "\u001b[2J\u202e\n" })]),
    });
    expect(line).toContain('value="\\u001b[2J\\u202e\\u000a"');
    const { lines } = await answerTo("show \u001b]0;x\u0007");
    expect(lines.join("")).not.toMatch(/[\u001b\u0007]/);
  });

  it("to a bug says that the log has it, and the log does", async () => {
    const log = memoryLog();
    const listVms = (): never => {
      throw new TypeError("secret detail");
    };
    const { lines, exitCode } = await answerTo("list Vm", { listVms }, log);
    expect(lines.at(-1)).toBe("Error Msg: the manager failed; its log says why");
    expect(exitCode).toBe(exitCodes.failed);
    expect(log.events).toEqual(["console.command-failed"]);
  });
});

describe("a line that is no command", () => {
  it.each([
    ["frobnicate Vm", "there is no command 'frobnicate'; help lists them"],
    ["show", "the type is missing; expected: show Vm {name=NAME | id=UUID}"],
    ["show Server name=a", "'Server' is not a type that show knows; expected: show Vm {name=NAME | id=UUID}"],
    ["show Vm", /^name= or id= says which virtual machine/],
    [`show Vm name=a id=${VM_ID}`, /^name= or id= says which virtual machine/],
    ["show Vm name=", /^name= is empty/],
    ["show Vm id=web1", /^id=web1 is not a UUID/],
    ["show Vm name=a color=red", /^there is no attribute 'color'/],
    ["list Vm name=a", "there is no attribute 'name'; expected: list Vm"],
    [
      "sendVmMessage Vm name=a key=k message=two words",
      /^'words' is not an attribute=value \(a value with spaces needs quotes\)/,
    ],
    [
      "sendVmMessage Vm name=a key=k",
      "message= is missing; expected: sendVmMessage Vm {name=NAME | id=UUID} key=KEY message=TEXT [log=no|yes]",
    ],
    ["sendVmMessage Vm name=a key=k message=m log=maybe", "log=maybe is neither yes nor no"],
    ["sendVmMessage Vm name=a key= message=m", "key: a key cannot be empty"],
    [`sendVmMessage Vm name=a key=${"k".repeat(257)} message=m`, /^key: a key of 257 bytes/],
    [`sendVmMessage Vm name=a key=k message=${"m".repeat(MAX_VALUE + 1)}`, /^value: .*limit of 32768 bytes/],
    ['sendVmMessage Vm name=a key=k message="m', /double quote is not closed/],
    ["help frobnicate", "there is no command 'frobnicate'; help lists them"],
  ])("is refused with what is wrong: %.60s", async (line, problem) => {
    const { message, exitCode } = await errorOf(line);
    expect(message).toMatch(problem);
    expect(exitCode).toBe(exitCodes.usage);
  });
});

describe("sendVmMessage", () => {
  async function sent(line: string): Promise<{ who: Principal; vm: string; message: NewMessage }> {
    const calls: { who: Principal; vm: string; message: NewMessage }[] = [];
    await dataOf(line, {
      send: (who, vm, message) => {
        calls.push({ who, vm, message });
        return Promise.resolve(receipt());
      },
    });
    const [call] = calls;
    if (call === undefined) throw new Error("nothing was sent");
    return call;
  }

  it("sets the key as the user who logged in, does not log the value, and waits a little for the delivery", async () => {
    const { who, vm, message } = await sent("sendvmmessage vm NAME=ol6u3apitest key=foo message=bar");
    expect(who).toBe(admin);
    expect(vm).toBe("ol6u3apitest");
    expect(message).toEqual({
      method: "set",
      params: { entries: [{ key: "foo", value: "bar" }] },
      log: false,
      waitFor: "delivered",
      waitMs: 10_000,
    });
  });

  it("finds the VM by its UUID in any case, and logs when it is told to", async () => {
    const { vm, message } = await sent(`sendVmMessage Vm id=${VM_ID.toUpperCase()} key=foo message= log=Yes`);
    expect(vm).toBe(VM_ID);
    expect(message).toMatchObject({ params: { entries: [{ key: "foo", value: "" }] }, log: true });
  });

  it.each(["delivered", "read", "acknowledged"] as const)("says no more than success when it is %s", async (state) => {
    const send = () => Promise.resolve(receipt({ state }));
    expect(await dataOf("sendVmMessage Vm name=a key=foo message=bar", { send })).toEqual([]);
  });

  it("is a success that says so when the message waits", async () => {
    const send = () => Promise.resolve(receipt({ state: "queued" }));
    const data = await dataOf("sendVmMessage Vm name=a key=foo message=bar", { send });
    expect(data).toEqual(["  queued: message m1 waits for the virtual machine"]);
  });

  it("is a failure with the guest's reason and its exit code when it is refused", async () => {
    const refusal = { code: "over-limit" as const, message: "needs 9000 bytes and 10 are free" };
    const send = () => Promise.resolve(receipt({ state: "refused", refusal }));
    expect(await errorOf("sendVmMessage Vm name=a key=foo message=bar", { send })).toEqual({
      message: "needs 9000 bytes and 10 are free",
      exitCode: exitCodes["over-limit"],
    });
  });

  it("is a failure when it expired", async () => {
    const send = () => Promise.resolve(receipt({ state: "expired", expiresAt: "2012-12-28T00:00:00.000Z" }));
    const { message } = await errorOf("sendVmMessage Vm name=a key=foo message=bar", { send });
    expect(message).toBe("message m1 was not delivered by 2012-12-28T00:00:00.000Z");
  });

  it("to a name that two VMs have names their UUIDs and id=", async () => {
    const other = VM_ID.replace("0004", "0005");
    const send = () => Promise.reject(new CommandError("usage", `2 VMs are named 'a': ${VM_ID}, ${other}`));
    const { message, exitCode } = await errorOf("sendVmMessage Vm name=a key=foo message=bar", { send });
    expect(message).toBe(`2 VMs are named 'a': ${VM_ID}, ${other}; use id=UUID`);
    expect(exitCode).toBe(exitCodes.usage);
  });

  it("passes on what is not permitted", async () => {
    const send = () => Promise.reject(new CommandError("not-permitted", "the role read cannot send"));
    const { exitCode } = await errorOf("sendVmMessage Vm name=a key=foo message=bar", { send });
    expect(exitCode).toBe(exitCodes["not-permitted"]);
  });
});

describe("getVmSentMessages", () => {
  it("lists the keys and what became of them, values no more", async () => {
    const refusal = { code: "conflict" as const, message: "foo exists" };
    const listSent = () =>
      Promise.resolve([receipt(), receipt({ method: "clear", keys: [], state: "refused", refusal, messageId: "m2" })]);
    expect(await dataOf("getVmSentMessages Vm name=a", { listSent })).toEqual([
      `  key=foo state=delivered by=admin time=${SENT_AT} message=m1`,
      `  method=clear state=refused reason="foo exists" by=admin time=${SENT_AT} message=m2`,
    ]);
  });
});

describe("getVmReceivedMessages", () => {
  it("lists keys, events, acknowledgements and reports with their times", async () => {
    const nothing = { key: undefined, value: undefined };
    const listReceived = () =>
      Promise.resolve([
        received(),
        received({ value: 'two "words"' }),
        received({ value: undefined, base64: "/w==" }),
        received({ key: "db.password", value: undefined }),
        received({ ...nothing, kind: "event", name: "READY", data: { step: 1 } }),
        received({ ...nothing, kind: "acknowledge", key: "foo", of: "m1", result: "done" }),
      ]);
    expect(await dataOf("getVmReceivedMessages Vm name=a", { listReceived })).toEqual([
      `  key=newkey value=newvalue time=${SENT_AT}`,
      `  key=newkey value="two \\"words\\"" time=${SENT_AT}`,
      `  key=newkey base64="/w==" time=${SENT_AT}`,
      `  key=db.password time=${SENT_AT}`,
      `  event=READY data="{\\"step\\":1}" time=${SENT_AT}`,
      `  key=foo acknowledged=m1 result=done time=${SENT_AT}`,
    ]);
  });
});

describe("list and show", () => {
  it("list Vm has a line for each VM", async () => {
    const listVms = () => [ol6, { ...ol6, id: VM_ID.replace("0004", "0005"), name: "web 2" }];
    expect(await dataOf("list vm", { listVms })).toEqual([
      `  id:${VM_ID}  name:ol6u3apitest`,
      `  id:${VM_ID.replace("0004", "0005")}  name:web 2`,
    ]);
  });

  it("show Vm has a line for each fact that is known", async () => {
    const link = { ...ol6.link, state: "held" as const, reason: "virsh console has it" };
    const lines = await dataOf("show Vm name=ol6u3apitest", { showVm: () => ({ ...ol6, link, pending: 2 }) });
    expect(lines).toEqual([
      "  Name = ol6u3apitest",
      `  Id = ${VM_ID}`,
      "  Status = Running",
      `  Status Since = ${formatLocalTime(new Date(ol6.statusSince))}`,
      "  Host = kvm1",
      "  Inventory = libvirt qemu:///system",
      "  Channel = /run/vms/ol6.sock",
      "  Link = held (virsh console has it)",
      "  Pending Messages = 2",
    ]);
  });
});

describe("help, exit and nothing", () => {
  it("help lists every command, and help COMMAND says what it does", async () => {
    expect(await dataOf("help", {})).toEqual([
      "  sendVmMessage Vm {name=NAME | id=UUID} key=KEY message=TEXT [log=no|yes]",
      "  getVmSentMessages Vm {name=NAME | id=UUID}",
      "  getVmReceivedMessages Vm {name=NAME | id=UUID}",
      "  list Vm",
      "  show Vm {name=NAME | id=UUID}",
      "  help [COMMAND]",
      "  exit",
    ]);
    expect((await dataOf("help LIST", {})).at(-1)).toBe("    lists the virtual machines");
  });

  it.each([
    ["exit", "end"],
    ["QUIT", "end"],
    ["", "nothing"],
    ["  ", "nothing"],
  ])("%j is %s", async (line, type) => {
    const interpreter = new Interpreter({ service: scriptedService({}), who: admin, log: memoryLog() });
    expect(await interpreter.reply(line, new AbortController().signal)).toEqual({ type });
  });
});
