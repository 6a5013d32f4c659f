/**
 * kill -9 of the manager, fifty times, and of agents, ten times, while clients send, guests speak, and VMs go and come. The
 * numbers come from one seed: `CHAOS_SEED=N` plays the same again, as far as processes let one.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFailed, onTestFinished, test, vi } from "vitest";
import type { Health, Receipt, ReceivedMessage } from "../../../../shared/api/schemas.ts";
import { Random } from "../../../fuzz/random.ts";
import { type ListedVm, ManagerUnderTest } from "../../support/managers.ts";
import { ApiClient, GuestProgram } from "./clients.ts";
import { historyAfter, statesAfter } from "./expected-history.ts";
import { RecordedAgent } from "./recorded-agent.ts";

const MANAGER_KILLS = 50;
const AGENT_KILLS = 10;
const CLIENTS = 8;

const VMS = ["web1", "web2", "web3", "db1", "db2"];

const SECRET = "Tr0ub4dor";
const LOGGED = "Plain-and-logged";

const seed = Number(process.env["CHAOS_SEED"] ?? Date.now() % 1_000_000);

class Chaos {
  readonly random = new Random(seed);
  readonly agents: ReadonlyMap<string, RecordedAgent>;
  readonly manager: ManagerUnderTest;
  readonly clients: ApiClient[];
  readonly programs: GuestProgram[];
  readonly #listed: ListedVm[];
  readonly #stopped = new AbortController();

  constructor(agents: ReadonlyMap<string, RecordedAgent>, listed: ListedVm[], manager: ManagerUnderTest) {
    this.agents = agents;
    this.#listed = listed;
    this.manager = manager;
    this.clients = Array.from({ length: CLIENTS }, (_, index) => {
      const random = new Random(seed + 1 + index);
      return new ApiClient({ name: `c${index}`, manager, vms: VMS, random, secret: SECRET, logged: LOGGED });
    });
    this.programs = [...agents].map(([vm, { socketPath }]) => new GuestProgram(vm, socketPath));
  }

  get accepted(): number {
    return this.clients.reduce((sum, { accepted }) => sum + accepted.length, 0);
  }

  /** Sends till {@link stop}; settles when the last message of each has been accepted. */
  async load(): Promise<void> {
    const { signal } = this.#stopped;
    await Promise.all([...this.clients, ...this.programs].map((sender) => sender.run(signal)));
  }

  stop(): void {
    this.#stopped.abort();
  }

  /** One is gone from the inventory, or none. */
  async listMost(): Promise<void> {
    const gone = this.random.pick([this.random.pick(VMS), undefined]);
    await this.manager.list(this.#listed.filter(({ name }) => name !== gone));
  }

  listAll(): Promise<void> {
    return this.manager.list(this.#listed);
  }

  /** As soon as a client has its answer, or in the middle of a start. */
  async untilKill(): Promise<void> {
    if (this.random.isOneIn(8)) {
      await sleep(this.random.below(600));
      return;
    }
    const enough = this.accepted + 1 + this.random.below(30);
    await vi.waitUntil(() => this.accepted >= enough, { timeout: 30_000, interval: 1 });
  }
}

async function startChaos(): Promise<Chaos> {
  const started = await Promise.all(
    VMS.map(async (name) => {
      const agent = await RecordedAgent.start();
      onTestFinished(() => agent[Symbol.asyncDispose]());
      return [name, agent] as const;
    }),
  );
  const listed = started.map(([name, { channelPath }]) => ({ name, socket: channelPath }));
  const manager = await ManagerUnderTest.start(listed);
  onTestFinished(() => manager[Symbol.asyncDispose]());
  return new Chaos(new Map(started), listed, manager);
}

/** The database, its journal and whatever else lies there, but for the key. */
async function onDisk({ stateDirectory }: ManagerUnderTest): Promise<Buffer> {
  const names = (await readdir(stateDirectory)).filter((name) => name !== "secrets.key");
  return Buffer.concat(await Promise.all(names.map((name) => readFile(join(stateDirectory, name)))));
}

test(
  `no accepted message is lost and none has two effects when the manager is killed ${MANAGER_KILLS} times`,
  { timeout: 400_000 },
  async () => {
    console.log(`CHAOS_SEED=${seed}`);
    const chaos = await startChaos();
    const { manager, random, agents } = chaos;
    onTestFailed(async () => {
      console.log((await manager.log()).slice(-10_000));
    });
    const load = chaos.load();
    let scansWithValues = 0;
    for (let kill = 1; kill <= MANAGER_KILLS; kill += 1) {
      await Promise.race([chaos.untilKill(), load, failWhenEnded(manager)]);
      await manager.kill("SIGKILL");
      const files = await onDisk(manager);
      expect(files.includes(SECRET), `a secret is readable after kill ${kill}`).toBe(false);
      if (files.includes(LOGGED)) scansWithValues += 1;
      await chaos.listMost();
      await manager.spawn();
      if (kill % (MANAGER_KILLS / AGENT_KILLS) === 0) {
        const agent = agents.get(random.pick(VMS));
        await agent?.kill();
        await agent?.start();
      }
    }
    await chaos.listAll();
    chaos.stop();
    await load;
    // A scan that found nothing would be worth nothing.
    expect(scansWithValues).toBeGreaterThan(0);
    expect(await manager.log()).not.toContain(SECRET);
    await expectNothingWaits(chaos);
    for (const vm of VMS) await expectOneEffectEach(chaos, vm);
    // Effects whose answer was lost, of which there must be some for this to show anything.
    const repetitions = await Promise.all([...agents.values()].map((agent) => agent.repetitions()));
    expect(Math.max(...repetitions)).toBeGreaterThan(0);
    for (const program of chaos.programs) await expectKeptOnce(chaos, program);
  },
);

/** Rejects when the manager ends before it is killed. */
async function failWhenEnded(manager: ManagerUnderTest): Promise<void> {
  const end = await manager.untilEnd();
  if (end !== "SIGKILL") throw new Error(`the manager ended by itself (${String(end)})`);
}

async function expectNothingWaits({ manager }: Chaos): Promise<void> {
  await vi.waitFor(
    async () => {
      expect((await manager.get<Health>("/health")).body.messages).toMatchObject({ queued: 0, refused: 0, expired: 0 });
    },
    { timeout: 60_000, interval: 100 },
  );
}

async function expectOneEffectEach({ manager, clients, agents }: Chaos, vm: string): Promise<void> {
  const { body } = await manager.get<{ receipts: Receipt[] }>(`/v1/vms/${vm}/messages?limit=1000`);
  const receipts = body.receipts.reverse();
  const order = receipts.map(({ messageId }) => messageId);
  const accepted = new Map(
    clients.flatMap((client) => client.acceptedFor(vm)).map((message) => [message.params.messageId, message]),
  );
  expect(accepted.size).toBeGreaterThan(50);
  expect([...order].sort(), "what the manager knows is what was accepted").toEqual([...accepted.keys()].sort());
  for (const client of clients) {
    const own = client.acceptedFor(vm).map(({ params }) => params.messageId);
    expect(
      order.filter((messageId) => own.includes(messageId)),
      "each client's order is kept",
    ).toEqual(own);
  }
  const messages = order.flatMap((messageId) => accepted.get(messageId) ?? []);
  expect(await agents.get(vm)?.history()).toEqual(historyAfter(messages));
  expect(receipts.map(({ state, result }) => ({ state, revision: result?.revision }))).toEqual(
    statesAfter(messages).map(({ revision }) => ({ state: "delivered", revision })),
  );
}

async function expectKeptOnce({ manager }: Chaos, { vm, told }: GuestProgram): Promise<void> {
  expect(told.length).toBeGreaterThan(5);
  await vi.waitFor(async () => {
    const { body } = await manager.get<{ received: ReceivedMessage[] }>(`/v1/vms/${vm}/received?limit=1000`);
    expect(body.received.map(({ messageId }) => messageId).reverse()).toEqual(told);
  });
}
