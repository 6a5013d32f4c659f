import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Handlers } from "../../../../../manager/api/handler.ts";
import { MisdirectedError } from "../../../../../manager/peers/caller.ts";
import type { WireMessage } from "../../../../../manager/peers/wire.ts";
import { CommandError } from "../../../../../shared/cli/failure.ts";
import { type Fate, MemoryBroker } from "../memory-broker.ts";
import { asking, changed, changing, receipt, setMessage, TestManager, web1 } from "./calls-scene.ts";

const fates = [
  "arrives",
  "arrives twice",
  "arrives later",
  "is lost",
  "is unconfirmed and arrives",
  "is unconfirmed and lost",
] as const satisfies Fate[];

/** What happens between two messages. */
const mishaps = ["nothing", "catch up", "replay", "time passes", "move", "asked loses", "asker loses"] as const;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "performance"] });
});

afterEach(() => {
  vi.useRealTimers();
});

/** Two managers that can have web1, a third that asks for changes of it, and a broker whose messages anybody may repeat. */
class Story {
  readonly broker = new MemoryBroker();
  /** How often each change was done, by its messageId, and by which manager. */
  readonly done = new Map<string, string[]>();
  readonly #passed: (() => void)[] = [];
  readonly asker = new TestManager(this.broker, "kvm0");
  readonly holders = [this.#holder("kvm1"), this.#holder("kvm2")] as const;
  #at = 0;

  async begin(): Promise<void> {
    await this.holders[0].hold(web1);
  }

  get holder(): TestManager {
    return this.holders[this.#at === 0 ? 0 : 1];
  }

  meddleWith(fateOf: (message: WireMessage) => Fate): void {
    this.broker.fateOf = (message, from, to) => {
      const all = [this.asker, ...this.holders];
      const addressee = all.find(({ peer }) => peer.id === to.id);
      this.#passed.push(() => addressee?.transport.receive(message, from));
      return fateOf(message);
    };
  }

  async happens(mishap: (typeof mishaps)[number], choice: number): Promise<void> {
    switch (mishap) {
      case "nothing":
        return;
      case "catch up":
        this.broker.catchUp((count) => choice % Math.max(1, count));
        return;
      case "replay":
        this.#passed[choice % Math.max(1, this.#passed.length)]?.();
        return;
      case "time passes":
        await vi.advanceTimersByTimeAsync(choice * 100);
        return;
      case "move":
        await this.holder.letGo(web1);
        this.#at = 1 - this.#at;
        await this.holder.hold(web1);
        return;
      case "asked loses":
        await this.#reconnected(this.holder);
        return;
      case "asker loses":
        await this.#reconnected(this.asker);
    }
  }

  async #reconnected(manager: TestManager): Promise<void> {
    manager.transport.disconnect("ECONNRESET");
    manager.transport.reconnect();
    if (manager.held.has(web1.id)) await manager.transport.claim(web1.id);
  }

  #holder(host: string): TestManager {
    const sendMessage: Handlers["sendMessage"] = async ({ body }) => {
      const { messageId = "" } = body.params;
      this.done.set(messageId, [...(this.done.get(messageId) ?? []), host]);
      await Promise.resolve();
      return { ...receipt, messageId };
    };
    return new TestManager(this.broker, host, { handlers: { sendMessage } });
  }
}

const script = fc.array(
  fc.record({
    asks: fc.boolean(),
    fate: fc.constantFrom(...fates),
    mishap: fc.constantFrom(...mishaps),
    choice: fc.nat(60),
  }),
  { minLength: 1, maxLength: 15 },
);

test("whatever is lost, repeated, replayed or late, no request is executed twice, and every outcome told is true", async () => {
  await fc.assert(
    fc.asyncProperty(script, async (steps) => {
      const story = new Story();
      await story.begin();
      const outcomes: Promise<{ messageId: string; outcome: string }>[] = [];
      for (const [number, { asks, fate, mishap, choice }] of steps.entries()) {
        let messages = 0;
        story.meddleWith(() => ((messages += 1) === (choice % 3) + 1 ? fate : "arrives"));
        if (asks) outcomes.push(asked(story, `m${number}`));
        await vi.advanceTimersByTimeAsync(0);
        await story.happens(mishap, choice);
      }
      await vi.advanceTimersByTimeAsync(100_000);
      for (const { messageId, outcome } of await Promise.all(outcomes)) {
        const times = story.done.get(messageId)?.length ?? 0;
        expect(times, `${messageId} was ${outcome}`).toBeLessThanOrEqual(1);
        if (outcome === "done") expect(times).toBe(1);
        if (outcome === "not done") expect(times).toBe(0);
      }
      const left = [story.asker.outgoing.size, ...story.holders.map(({ incoming }) => incoming.size)];
      expect(left).toEqual([0, 0, 0]);
    }),
    { numRuns: 500 },
  );
});

async function asked(story: Story, messageId: string): Promise<{ messageId: string; outcome: string }> {
  const body = { ...setMessage, params: { ...setMessage.params, messageId } };
  try {
    await story.asker.outgoing.ask(story.holder.byVm(web1), asking("sendMessage", { body }), changing());
    return { messageId, outcome: "done" };
  } catch (error) {
    if (error instanceof MisdirectedError) return { messageId, outcome: "not done" };
    if (!(error instanceof CommandError)) throw error;
    return { messageId, outcome: error.code === "unreachable" ? "not done" : error.code };
  }
}

test("whatever is lost, repeated or late, a stream has its events in order without a gap, or says that it is lost", async () => {
  const LENGTH = 100;
  async function* watchKeys() {
    await Promise.resolve();
    for (let revision = 1; revision <= LENGTH; revision += 1) yield changed(revision);
  }
  const misfortunes = fc.array(fc.record({ at: fc.nat(150), fate: fc.constantFrom(...fates) }), { maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(misfortunes, async (script) => {
      const broker = new MemoryBroker();
      const kvm1 = new TestManager(broker, "kvm1");
      const kvm2 = new TestManager(broker, "kvm2", { handlers: { watchKeys } });
      await kvm2.hold(web1);
      let messages = 0;
      broker.fateOf = () => {
        messages += 1;
        return script.find(({ at }) => at === messages)?.fate ?? "arrives";
      };
      const ids: (string | undefined)[] = [];
      const work = (async () => {
        const events = kvm1.outgoing.stream(kvm2.byVm(web1), asking("watchKeys"), changing());
        for await (const { id } of events) ids.push(id);
      })().catch((error: unknown) => error);
      await vi.advanceTimersByTimeAsync(10_000);
      while (broker.catchUp()) await vi.advanceTimersByTimeAsync(10);
      await vi.advanceTimersByTimeAsync(100_000);
      const failure = await work;
      expect(ids).toEqual(ids.map((_, index) => changed(index + 1).id));
      if (failure === undefined) expect(ids).toHaveLength(LENGTH);
      else expect(failure).toMatchObject({ code: "unreachable", details: { isLost: true } });
      expect([kvm1.outgoing.size, kvm2.incoming.size]).toEqual([0, 0]);
    }),
    { numRuns: 200 },
  );
});
