/**
 * Two hosts whose managers meet in a real RabbitMQ, each in a network namespace of its own with a real guest: what works at
 * home works across, and whatever fails in the middle of a request, its sender is told the truth and the guest does it once, and
 * who watches sees it.
 * The faults' moments come from one seed: `ACROSS_SEED=N` plays the same again, as far as processes let one.
 */
import { afterAll, beforeAll, describe, expect, onTestFailed, onTestFinished, test } from "vitest";
import type { Health, Problem, VmList } from "../../shared/api/schemas.ts";
import { Random } from "../fuzz/random.ts";
import type { Running } from "../integration/host-cli/programs.ts";
import { disturbBroker, killBroker, cutLink, type Fault, killManager } from "./across/faults.ts";
import { type Host, Lab } from "./across/lab.ts";
import { Ordeal } from "./across/ordeal.ts";
import { Watching } from "./across/watching.ts";
import { waitFor } from "./harness/wait-for.ts";
import { agentSays } from "./support/programs.ts";

const ROUNDS = 20;

/** A broker takes 5 to 40 s to start again. */
const FAULTS_TIMEOUT_MS = 1_200_000;

const seed = Number(process.env["ACROSS_SEED"] ?? Date.now() % 1_000_000);

let lab: Lab;

beforeAll(async () => {
  lab = await Lab.start();
});
afterAll(() => lab[Symbol.asyncDispose]());

const directions = [
  ["hosta", "hostb"],
  ["hostb", "hosta"],
] as const;

/** `vmmessage`, ended with the test. */
function start(host: Host, ...args: string[]): Running {
  const running = lab.startVmmessage(host, ...args);
  onTestFinished(() => running.kill("SIGKILL"));
  return running;
}

async function untilPrinted(running: Running, text: string): Promise<void> {
  await waitFor(`"${text}" in ${running.stdout}${running.stderr}`, () => running.stdout.includes(text));
}

describe.each(directions)("from %s", (fromName, toName) => {
  let from: Host;
  let to: Host;

  beforeAll(() => {
    from = lab[fromName];
    to = lab[toName];
  });

  test(`a message to a VM of ${toName} is in its guest, and what the guest sets is read, as at home`, async () => {
    const key = `sent.${fromName}`;
    const sent = await lab.vmmessage(from, "-v", to.vm, "-k", key, "-V", "frontend", "--json");
    expect(sent).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(sent.stdout)).toMatchObject({ vm: to.vm, state: "delivered", replaced: [] });
    expect(await to.record.valueOf(key)).toBe("frontend");
    expect((await to.record.timesSet()).get(key)).toBe(1);
    await agentSays(to.guest, ["-p", `ready.${fromName}=yes`]);
    expect((await lab.vmmessage(from, "-v", to.vm, "-q", `ready.${fromName}`, "--quiet")).stdout).toBe("yes\n");
  });

  test("every command ends and prints across as it does at home", async () => {
    const { vm } = to;
    const commands = [
      ["-v", vm, "-k", "same", "-V", "1"],
      ["-v", vm, "-q", "same"],
      ["-v", vm, "-q", "no.such.key"],
      ["-v", vm, "-k", "same", "-V", "2", "--if-absent"],
      ["list", "-v", vm],
      ["ping", "-v", vm],
      ["info", "-v", vm],
      ["delete", "no.such.key", "-v", vm],
      ["-v", "no-such-vm", "-q", "same"],
      ["-v", "no-such-vm", "-k", "same", "-V", "1"],
    ];
    for (const command of commands) {
      const atHome = await lab.vmmessage(to, ...command);
      const across = await lab.vmmessage(from, ...command);
      expect(withoutNumbers(across), command.join(" ")).toEqual(withoutNumbers(atHome));
    }
    expect(await lab.vmmessage(from, "-v", vm, "-q", "no.such.key")).toMatchObject({ code: 1 });
    expect(await lab.vmmessage(from, "-v", vm, "-k", "same", "-V", "2", "--if-absent")).toMatchObject({ code: 5 });
  });

  test("a watch shows what the guest changes, and a wait ends with what it set", async () => {
    const [watch, wait] = [
      start(from, "watch", `watched.${fromName}.`, "-v", to.vm),
      start(from, "wait", `watched.${fromName}.b`, "-v", to.vm, "--quiet"),
    ];
    await agentSays(to.guest, ["-p", `watched.${fromName}.a=1`]);
    await untilPrinted(watch, `watched.${fromName}.a = '1'\n`);
    await agentSays(to.guest, ["-p", `watched.${fromName}.b=2`]);
    await untilPrinted(watch, `watched.${fromName}.b = '2'\n`);
    expect(await wait.outcome()).toMatchObject({ code: 0, stdout: "2\n" });
  });

  test("an acknowledgement comes back, and both hosts have the receipt", async () => {
    const job = `job.${fromName}`;
    const sending = start(from, "-v", to.vm, "-k", job, "-V", "42", "--wait-ack", "--json");
    await waitFor(`${job} in ${to.vm}`, async () => (await to.record.timesSet()).has(job));
    await agentSays(to.guest, ["--ack", job, "--result", "done"]);
    const { code, stdout } = await sending.outcome();
    expect(code).toBe(0);
    const { messageId, state } = JSON.parse(stdout) as { messageId: string; state: string };
    expect(state).toBe("acknowledged");
    for (const host of lab.hosts) {
      expect(await lab.vmmessage(host, "receipt", messageId)).toMatchObject({
        code: 0,
        stdout: expect.stringContaining("acknowledged") as string,
      });
    }
  });

  test("all VMs are listed with their hosts, and one command reaches the VMs of both", async () => {
    const everywhere = await lab.vmmessage(from, "vms", "--everywhere", "--json");
    expect(everywhere).toMatchObject({ code: 0, stderr: "" });
    const { vms } = JSON.parse(everywhere.stdout) as VmList;
    expect(vms.map(({ name, host, link }) => [name, host, link.state])).toEqual([
      ["web1", "hosta", "up"],
      ["web2", "hostb", "up"],
    ]);
    const fleet = await lab.vmmessage(from, "-v", "web*", "-k", `fleet.${fromName}`, "-V", "1");
    expect(fleet).toMatchObject({ code: 0, stderr: "" });
    expect(fleet.stdout).toMatch(/^web1 .*delivered$/m);
    expect(fleet.stdout).toMatch(/^web2 .*delivered$/m);
    for (const { record } of lab.hosts) expect((await record.timesSet()).get(`fleet.${fromName}`)).toBe(1);
  });
});

describe("while the broker is away", () => {
  test("a host's own VMs are reached, others fail at once, and a watch goes on afterwards and misses nothing", async () => {
    const { hosta, hostb, broker } = lab;
    const watch = start(hosta, "watch", "away.", "-v", "web2");
    await agentSays(hostb.guest, ["-p", "away.before=1"]);
    await untilPrinted(watch, "away.before = '1'\n");
    await broker.kill9();
    // The tests after this one need it.
    onTestFailed(() => broker.restart());

    expect(await lab.vmmessage(hosta, "-v", "web1", "-k", "home", "-V", "1")).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("Message sent successfully.\n") as string,
    });
    const startedAt = performance.now();
    const { status, body } = await hosta.manager.post<Problem>("/v1/vms/web2/ping", {});
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect({ status, body }).toMatchObject({
      status: 503,
      body: { code: "unreachable", detail: expect.stringMatching(/broker/) as string },
    });
    expect(await lab.vmmessage(hosta, "-v", "web2", "-q", "home")).toMatchObject({
      code: 10,
      stderr: expect.stringMatching(/broker/) as string,
    });
    expect((await hosta.manager.get<Health>("/health")).body.peers).toMatchObject({ state: "disconnected" });
    await agentSays(hostb.guest, ["-p", "away.during=1"]);

    await broker.restart();
    await lab.untilTogether();
    await agentSays(hostb.guest, ["-p", "away.after=1"]);
    await untilPrinted(watch, "away.after = '1'\n");
    expect(watch.stdout.match(/away\.\w+/g)).toEqual(["away.before", "away.during", "away.after"]);
    expect((await hosta.manager.get<Health>("/health")).body.peers).toMatchObject({ state: "connected" });
  });
});

describe("each message has one effect and its sender is told the truth", () => {
  const faults: [string, Fault][] = [
    ["a link is cut and healed", cutLink],
    ["the broker is killed", killBroker],
    ["the broker stands still or loses its connections", disturbBroker],
    ["a manager is killed", killManager],
  ];

  const title = `when %s in the middle of a request, ${ROUNDS} times`;

  test.each(faults)(title, { timeout: FAULTS_TIMEOUT_MS }, async (what, fault) => {
    console.log(`ACROSS_SEED=${seed}`);
    onTestFailed(async () => {
      console.log(await lab.logs());
    });
    await lab.untilTogether();
    const ordeal = await Ordeal.begin(fault.name, lab, new Random(seed));
    await using watching = await Watching.begin(`${fault.name}.`, lab, start);
    // With the guests as busy as in the rounds: their middle is to be hit.
    const requestMs = await ordeal.typicalRequestMs();
    for (let number = 0; number < ROUNDS; number += 1) await ordeal.round(fault, number, requestMs);
    const changes = await watching.endChanges();
    await ordeal.judge(changes);
    await watching.judge();
    console.log(what, ordeal.told, `done unheard: ${ordeal.doneUnheard}`);
    console.log("watches:", { ...watching.interruptions, changes: [...changes.values()] });
    // Otherwise the middle of a request was never hit, and none of this shows anything.
    expect(ordeal.told["unconfirmed"]).toBeGreaterThan(0);
    expect(ordeal.told["delivered"]).toBeGreaterThan(0);
    expect(watching.interruptions.all).toBeGreaterThan(0);
  });
});

type Printed = Pick<Awaited<ReturnType<Lab["vmmessage"]>>, "code" | "stdout" | "stderr">;

/** Times and revisions differ between two calls of the same command. */
function withoutNumbers({ code, stdout, stderr }: Printed): Printed {
  const without = (text: string): string => text.replace(/\d[\d.]*( (second|minute)s?)?/g, "N").replace(/ +/g, " ");
  return { code, stdout: without(stdout), stderr: without(stderr) };
}
